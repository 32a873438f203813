"""What goes to a model and what comes back, the same for every provider."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Any, Protocol, TypeGuard

from orchestrator.llm.prompt import Message, Role


class Form(StrEnum):
    """How an answer's form is asked for: by the server's own JSON schema, its JSON mode, or in words only."""

    JSON_SCHEMA = "json_schema"
    JSON_OBJECT = "json_object"
    TEXT = "text"


class Finish(StrEnum):
    """Why an answer ended: it was finished, the output limit cut it, or it breaks off before its end."""

    STOP = "stop"
    LENGTH = "length"
    CUT = "cut"


def one_system(messages: Sequence[Message]) -> list[Message]:
    """Return the turns with all that the system says in the first one: some servers accept no second one."""
    said = [turn.text for turn in messages if turn.role is Role.SYSTEM]
    others = [turn for turn in messages if turn.role is not Role.SYSTEM]
    return [Message(Role.SYSTEM, "\n\n".join(said)), *others] if said else others


@dataclass(frozen=True)
class Usage:
    """Tokens of one call or of several; input includes what was read from and written to a cache."""

    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    cache_write_tokens: int = 0

    @property
    def tokens(self) -> int:
        """Return input and output together."""
        return self.input_tokens + self.output_tokens

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
            self.cached_tokens + other.cached_tokens,
            self.cache_write_tokens + other.cache_write_tokens,
        )


def told_usage(
    input_tokens: object, output_tokens: object, cached_tokens: object = 0, cache_write_tokens: object = 0
) -> Usage | None:
    """Return the usage that a provider told; None unless all of it are sane numbers."""
    counts = [0 if count is None else count for count in (cached_tokens, cache_write_tokens)]
    numbers = [number for number in (input_tokens, output_tokens, *counts) if _is_count(number)]
    return Usage(*numbers) if len(numbers) == 4 else None


def _is_count(number: object) -> TypeGuard[int]:
    return type(number) is int and 0 <= number < 2**40


@dataclass(frozen=True)
class Query:
    """One request to one model; `deadline` is a value of time.monotonic(), `schema` goes with JSON_SCHEMA.

    `schema` may be sent as strict when `is_strict`: every object closed, every member required.
    """

    messages: Sequence[Message]
    max_output_tokens: int
    deadline: float
    form: Form = Form.TEXT
    schema: dict[str, Any] | None = None
    is_strict: bool = False


@dataclass(frozen=True)
class Answer:
    """A provider's whole answer; `refusal` says why the model declined, `usage` is None when it did not tell.

    An embedding model says nothing, but gives a vector for each message.
    """

    text: str
    finish: Finish
    usage: Usage | None
    model: str
    refusal: str | None = None
    vectors: tuple[tuple[float, ...], ...] = ()


class Provider(Protocol):
    """Speaks one provider's protocol; may be used by several threads at once."""

    name: str
    base_url: str
    forms: tuple[Form, ...]

    def ask(self, query: Query, model: str) -> Answer:
        """Return the model's whole answer before the query's deadline; raises ModelError and nothing else."""
        ...

    def close(self) -> None:
        """Close the connections."""
        ...


@dataclass(frozen=True)
class Bound:
    """The most that one call can use; `dollars` is None when the model's price is not known."""

    input_tokens: int
    output_tokens: int
    dollars: Decimal | None

    @property
    def tokens(self) -> int:
        """Return input and output together."""
        return self.input_tokens + self.output_tokens


class BudgetAccount(Protocol):
    """What calls are paid from: each is reserved before it goes out and settled after it came back."""

    def reserve(self, bound: Bound) -> int:
        """Set aside the most that a call can use; return its number. Raises BudgetExceeded, MustWait."""
        ...

    def settle(
        self, call: int, usage: Usage | None, dollars: Decimal | None, *, is_told: bool = True
    ) -> None:
        """Charge what a call did use; without a usage, all that was set aside.

        Where the usage is estimated and not told, room is left for another call of the same size: a retry.
        """
        ...


@dataclass(frozen=True)
class Attempt:
    """One model's part in a completion: a call, or why it was not called. `outcome` is `ok` or an error's code.

    `usage` is None when the provider did not tell it, `dollars` when the price is not known; `breaker` is the state
    of the model's breaker afterwards; `is_fake` says that our own fake server answered.
    """

    provider: str
    model: str
    outcome: str
    was_called: bool
    seconds: float = 0.0
    usage: Usage | None = None
    dollars: Decimal | None = None
    detail: str = ""
    breaker: str = ""
    is_fake: bool = False

    def to_record(self) -> dict[str, Any]:
        """Return the attempt as JSON values, for the trace."""
        return {
            "provider": self.provider,
            "model": self.model,
            "outcome": self.outcome,
            "fake": self.is_fake,
            "called": self.was_called,
            "milliseconds": round(self.seconds * 1000),
            "input_tokens": self.usage.input_tokens if self.usage else None,
            "output_tokens": self.usage.output_tokens if self.usage else None,
            "cached_tokens": self.usage.cached_tokens if self.usage else None,
            "cost_dollars": str(self.dollars) if self.dollars is not None else None,
            "detail": self.detail,
        }


@dataclass(frozen=True)
class Completion:
    """An answer that can be used: `text`, and `value` when a schema was given; all attempts, the last one gave it.

    `is_fake` says that no model made it but our own fake server. `dollars` is None when a part is unknown.
    """

    text: str
    value: Any
    finish: Finish
    provider: str
    model: str
    form: Form
    purpose: str
    is_fake: bool
    attempts: tuple[Attempt, ...]

    @property
    def usage(self) -> Usage:
        """Return the tokens of all calls that told them."""
        return sum((attempt.usage for attempt in self.attempts if attempt.usage), start=Usage())

    @property
    def dollars(self) -> Decimal | None:
        """Return the cost of all calls; None when one's is not known."""
        costs = [attempt.dollars for attempt in self.attempts if attempt.was_called]
        return None if None in costs else sum((cost for cost in costs if cost is not None), start=Decimal(0))

    def to_record(self) -> dict[str, Any]:
        """Return who answered, why others did not, and what it cost, as JSON values; not what was said."""
        return {
            "purpose": self.purpose,
            "provider": self.provider,
            "model": self.model,
            "fake": self.is_fake,
            "form": self.form.value,
            "finish": self.finish.value,
            "input_tokens": self.usage.input_tokens,
            "output_tokens": self.usage.output_tokens,
            "cost_dollars": str(self.dollars) if self.dollars is not None else None,
            "attempts": [attempt.to_record() for attempt in self.attempts],
        }
