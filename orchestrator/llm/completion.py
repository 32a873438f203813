"""The request to a chain of models, its outcome, and the record of each call with its usage and cost."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Protocol

from orchestrator.llm.prompt import Message
from orchestrator.llm.provider import FinishReason, Progress, ResponseFormat, Usage
from orchestrator.models.model_choice import ModelName
from orchestrator.models.model_work import Work


@dataclass(frozen=True)
class CompletionRequest:
    """What to ask a chain of models; `deadline` is a time.monotonic() value.

    With a `schema` the answer is a JSON value that follows it. Providers in `avoid` are asked last. `purpose` is the
    prompt's name and version, for the trace; `work` decides which models are asked and how long the answer may be.
    `progress` receives streamed answers as they come. `enforced` is a larger schema in the strict subset, for servers
    that enforce one; the answer is validated by `schema` alone. `model` is the only one to ask.
    """

    messages: Sequence[Message]
    purpose: str
    work: Work
    deadline: float
    schema: Mapping[str, Any] | None = None
    avoid: Collection[str] = ()
    progress: Progress | None = None
    enforced: Mapping[str, Any] | None = None
    model: ModelName | None = None


@dataclass(frozen=True)
class UsageBound:
    """An upper bound on the usage of one call; `dollars` is None if the model's price is not known."""

    input_tokens: int
    output_tokens: int
    dollars: Decimal | None

    @property
    def tokens(self) -> int:
        """Return the sum of input and output tokens."""
        return self.input_tokens + self.output_tokens


class BudgetAccount(Protocol):
    """The budget that calls are charged to: each call is reserved before it is sent and settled afterwards."""

    def reserve(self, bounds: Sequence[UsageBound]) -> tuple[int, UsageBound]:
        """Reserve the first of the bounds that fits; return the reservation's number and that bound.

        Raises BudgetExceeded, MustWait.
        """
        ...

    def settle(
        self, call: int, usage: Usage | None, dollars: Decimal | None, *, is_reported: bool = True
    ) -> None:
        """Charge the call's usage and release the rest; without a usage, charge the whole reservation.

        `is_reported=False`: the usage is an estimate, which is charged up to what is reserved.
        """
        ...


@dataclass(frozen=True)
class CallRecord:
    """One call of a completion, or the reason why the model was not called; `outcome` is `ok` or an error code.

    `usage` is None if the provider did not report it, `dollars` if the price is not known. `breaker` is the state of
    the model's circuit breaker afterwards. `is_fake`: our own fake server answered. `first_text_seconds`: the time to
    the first part of a streamed answer. `call` is its number among the attempt's calls in the budget's ledger; None if
    no budget was charged.
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
    first_text_seconds: float | None = None
    call: int | None = None

    def to_record(self) -> dict[str, Any]:
        """Return the call as JSON values, for the trace."""
        return {
            "provider": self.provider,
            "model": self.model,
            "outcome": self.outcome,
            "fake": self.is_fake,
            "called": self.was_called,
            "call": self.call,
            "milliseconds": round(self.seconds * 1000),
            "first_text_milliseconds": round(self.first_text_seconds * 1000)
            if self.first_text_seconds is not None
            else None,
            "input_tokens": self.usage.input_tokens if self.usage else None,
            "output_tokens": self.usage.output_tokens if self.usage else None,
            "cached_tokens": self.usage.cached_tokens if self.usage else None,
            "cost_dollars": str(self.dollars) if self.dollars is not None else None,
            "detail": self.detail,
        }


@dataclass(frozen=True)
class Completion:
    """A usable answer: its `text`, its `value` if a schema was given, and the calls, of which the last gave it.

    `is_fake`: our own fake server answered, not a model.
    """

    text: str
    value: Any
    finish: FinishReason
    provider: str
    model: str
    response_format: ResponseFormat
    purpose: str
    is_fake: bool
    attempts: tuple[CallRecord, ...]

    @property
    def usage(self) -> Usage:
        """Return the tokens of all calls whose usage was reported."""
        return sum((attempt.usage for attempt in self.attempts if attempt.usage), start=Usage())

    @property
    def dollars(self) -> Decimal | None:
        """Return the cost of all calls, or None if the cost of one is not known."""
        costs = [attempt.dollars for attempt in self.attempts if attempt.was_called]
        return None if None in costs else sum((cost for cost in costs if cost is not None), start=Decimal(0))

    def to_record(self) -> dict[str, Any]:
        """Return model, calls and cost as JSON values, for the trace; without the text of the conversation."""
        return {
            "purpose": self.purpose,
            "provider": self.provider,
            "model": self.model,
            "fake": self.is_fake,
            "form": self.response_format.value,
            "finish": self.finish.value,
            "input_tokens": self.usage.input_tokens,
            "output_tokens": self.usage.output_tokens,
            "cost_dollars": str(self.dollars) if self.dollars is not None else None,
            "attempts": [attempt.to_record() for attempt in self.attempts],
        }
