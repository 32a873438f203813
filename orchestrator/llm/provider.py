"""The interface of every model provider: one request to one model, and the provider's response."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol, TypeGuard

from orchestrator.llm.capabilities import LearnedFacts, ModelCapabilities
from orchestrator.llm.prompt import Message, Role


class ResponseFormat(StrEnum):
    """How a request asks for its format: the server enforces a JSON schema, any JSON, or only the prompt asks."""

    JSON_SCHEMA = "json_schema"
    JSON_OBJECT = "json_object"
    TEXT = "text"


class FinishReason(StrEnum):
    """Why an answer ended: the model finished, it reached the output limit, or the answer is incomplete."""

    STOP = "stop"
    LENGTH = "length"
    CUT = "cut"


def with_one_system_message(messages: Sequence[Message], *, has_system: bool = True) -> list[Message]:
    """Return the messages with all system messages joined into the first: some servers reject a second one.

    Without `has_system` their text begins the first message instead, since some models have no system messages.
    """
    system = "\n\n".join(message.text for message in messages if message.role is Role.SYSTEM)
    others = [message for message in messages if message.role is not Role.SYSTEM]
    if not system:
        return others
    if has_system or not others:
        return [Message(Role.SYSTEM if has_system else Role.USER, system), *others]
    first, *later = others
    return [Message(first.role, f"{system}\n\n{first.text}"), *later]


@dataclass(frozen=True)
class Usage:
    """Tokens of one or several calls; `input_tokens` includes tokens read from and written to the prompt cache."""

    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    cache_write_tokens: int = 0

    @property
    def tokens(self) -> int:
        """Return the sum of input and output tokens."""
        return self.input_tokens + self.output_tokens

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
            self.cached_tokens + other.cached_tokens,
            self.cache_write_tokens + other.cache_write_tokens,
        )


def parse_usage(
    input_tokens: object, output_tokens: object, cached_tokens: object = 0, cache_write_tokens: object = 0
) -> Usage | None:
    """Return the usage that a provider reported, or None if any of the numbers is missing or implausible."""
    counts = [0 if count is None else count for count in (cached_tokens, cache_write_tokens)]
    numbers = [number for number in (input_tokens, output_tokens, *counts) if _is_count(number)]
    return Usage(*numbers) if len(numbers) == 4 else None


def _is_count(number: object) -> TypeGuard[int]:
    return type(number) is int and 0 <= number < 2**40


class Progress(Protocol):
    """Receives the parts of a streamed answer as they come."""

    def begin(self) -> None:
        """Begin an answer; an earlier one, which was not complete or not usable, no longer counts."""
        ...

    def add(self, text: str) -> None:
        """Add a part of the answer. Raises nothing, and returns at once."""
        ...


@dataclass(frozen=True)
class ModelRequest:
    """One request to one model; `deadline` is a time.monotonic() value, `schema` belongs to JSON_SCHEMA.

    `is_strict`: the schema closes every object and requires every member, so that it may be sent as strict. `effort`,
    low to high, is how much a reasoning model is to think; None leaves it to the model.
    """

    messages: Sequence[Message]
    max_output_tokens: int
    deadline: float
    response_format: ResponseFormat = ResponseFormat.TEXT
    schema: dict[str, Any] | None = None
    is_strict: bool = False
    effort: str | None = None
    progress: Progress | None = None


@dataclass(frozen=True)
class ModelResponse:
    """A provider's complete response.

    `refusal` is the reason why the model declined; `usage` is None if the provider did not report it. An embedding
    model returns no text, but one vector for each message. `first_text_seconds` is the time from the request to the
    first part of a streamed answer.
    """

    text: str
    finish: FinishReason
    usage: Usage | None
    model: str
    refusal: str | None = None
    vectors: tuple[tuple[float, ...], ...] = ()
    first_text_seconds: float | None = None


@dataclass(frozen=True, kw_only=True)
class ProviderOptions:
    """How a provider works; `extra_body` maps provider:model to parameters.

    `is_strict`: the SDK validates responses against its types; for tests only, since a new value in a provider's
    responses would then fail every call.
    """

    is_streaming: bool = True
    extra_body: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    learned: LearnedFacts = field(default_factory=LearnedFacts)
    is_strict: bool = False


class Provider(Protocol):
    """A client of one endpoint; safe for use by several threads at once. `base_url` may hold a secret."""

    name: str
    base_url: str
    response_formats: tuple[ResponseFormat, ...]

    def capabilities_of(self, model: str) -> ModelCapabilities:
        """Return what the server supports for this model."""
        ...

    def send(self, request: ModelRequest, model: str) -> ModelResponse:
        """Return the model's complete response before the request's deadline. Raises only ModelError."""
        ...

    def close(self) -> None:
        """Close the connections."""
        ...
