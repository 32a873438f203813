"""The base of both SDK providers: one deadline a request, complete or streamed responses, and our own errors."""

import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from orchestrator.llm import error_translation
from orchestrator.llm.provider import FinishReason, ModelRequest, ModelResponse, Usage
from orchestrator.llm.transport import track_sending

_TEXT_PARTS = {"text", "output_text", "text_delta", None}


class Client(Protocol):
    """An SDK's client."""

    def close(self) -> None:
        """Close the connections."""
        ...


@dataclass
class ReceivedParts:
    """What was received of a response so far, in the provider's own words; `finish` is its finish reason."""

    text: str = ""
    finish: Any = None
    refusal: str = ""
    usage: Usage | None = None
    model: str | None = None
    is_cut: bool = False

    def to_response(self, model: str, *, finish_reasons: Mapping[str, FinishReason]) -> ModelResponse:
        """Return the response of the requested `model`; `finish_reasons` maps the provider's words to ours."""
        return ModelResponse(
            text=self.text,
            finish=FinishReason.CUT
            if self.is_cut
            else error_translation.finish_reason_of(self.finish, finish_reasons),
            usage=self.usage,
            model=str(self.model or model),
            refusal=str(self.refusal)[:500] if self.refusal else None,
        )


class SdkProvider(ABC):
    """A provider reached through its SDK; safe for use by several threads at once."""

    name: str
    sdk_error: type[Exception]

    def __init__(
        self,
        client: Client,
        *,
        base_url: str,
        is_streaming: bool = False,
        extra_body: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:
        self.base_url = base_url
        self._connections = client
        self._is_streaming = is_streaming
        self._extra_body = extra_body or {}

    def send(self, request: ModelRequest, model: str) -> ModelResponse:
        """Return the model's complete response before the request's deadline. Raises only ModelError."""
        left = request.deadline - time.monotonic()
        if left <= 0:
            raise error_translation.timeout_error(provider=self.name, model=model)
        with track_sending() as is_sent:
            try:
                parameters = self._parameters(request, model) | {"timeout": left}
                parameters = with_extra_body(parameters, self._extra_body.get(f"{self.name}:{model}", {}))
                return self._streamed(parameters) if self._is_streaming else self._single(parameters)
            except (self.sdk_error, *error_translation.TRANSLATED) as error:
                raise error_translation.translate(
                    error, provider=self.name, model=model, was_sent=is_sent()
                ) from None

    def close(self) -> None:
        """Close the connections."""
        self._connections.close()

    @abstractmethod
    def _parameters(self, request: ModelRequest, model: str) -> dict[str, Any]:
        """Return the parameters of the SDK's call, except the timeout."""

    @abstractmethod
    def _single(self, parameters: dict[str, Any]) -> ModelResponse:
        """Call the SDK for a response in one piece."""

    def _streamed(self, parameters: dict[str, Any]) -> ModelResponse:
        """Call the SDK for a streamed response, if the provider has streams."""
        return self._single(parameters)


def with_extra_body(parameters: dict[str, Any], extra: Mapping[str, Any]) -> dict[str, Any]:
    """Return an SDK's parameters with the operator's: objects are merged member by member, other values replaced."""
    objects = {
        name for name in extra if isinstance(parameters.get(name), dict) and isinstance(extra[name], Mapping)
    }
    merged = {name: _merged(parameters[name], extra[name]) for name in objects}
    rest = {name: value for name, value in extra.items() if name not in objects}
    return parameters | merged | {"extra_body": rest or None}


def text_of(content: Any) -> str:
    """Return the text of a message's content, which is a string or a list of parts; skip reasoning parts.

    A part is an object of an SDK or plain JSON.
    """
    if isinstance(content, str):
        return content
    return "".join(_texts(content)) if isinstance(content, list | tuple) else ""


def refusal_of(content: Any) -> str:
    """Return the refusal among the parts of a message's content, or an empty string."""
    parts = content if isinstance(content, list | tuple) else ()
    refusals = (_member(part, "refusal") for part in parts if _member(part, "type") == "refusal")
    return "".join(refusal for refusal in refusals if isinstance(refusal, str))


def _texts(parts: Iterable[Any]) -> Iterable[str]:
    for part in parts:
        text = part if isinstance(part, str) else _member(part, "text")
        if isinstance(text, str) and (isinstance(part, str) or _member(part, "type") in _TEXT_PARTS):
            yield text


def _merged(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> dict[str, Any]:
    both = {
        name: _merged(ours[name], theirs[name])
        for name in ours.keys() & theirs.keys()
        if isinstance(ours[name], Mapping) and isinstance(theirs[name], Mapping)
    }
    return {**ours, **theirs, **both}


def _member(part: Any, name: str) -> Any:
    return part.get(name) if isinstance(part, Mapping) else getattr(part, name, None)
