"""The base of both SDK providers: one deadline a request, complete or streamed responses, and our own errors.

A server that rejects a parameter by its name is asked again without it, and what it does not support is remembered.
"""

import re
import subprocess
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Protocol

from orchestrator.llm import error_translation
from orchestrator.llm.capabilities import ModelCapabilities, model_key
from orchestrator.llm.provider import (
    FinishReason,
    ModelRequest,
    ModelResponse,
    Progress,
    ProviderOptions,
    ResponseFormat,
    Usage,
)
from orchestrator.llm.transport import track_sending
from orchestrator.models.endpoint import Endpoint
from orchestrator.models.model_errors import ModelRequestRejected, ModelUnauthorised, ModelUnknown

_TEXT_PARTS = {"text", "output_text", "text_delta", None}
_UNSUPPORTED = re.compile(
    "unsupported|unknown|unrecogni[sz]ed|unexpected|not (?:support|permit|allow|available)|n't support|"
    "extra (?:inputs|fields)|must be verified|invalid (?:parameter|argument|field)|only support",
    re.IGNORECASE,
)
_TOKEN_SECONDS = 300.0
_TOKEN_COMMAND_SECONDS = 30.0


class Client(Protocol):
    """An SDK's client."""

    def close(self) -> None:
        """Close the connections."""
        ...


class Adaptation(NamedTuple):
    """What a rejection that matches `named` teaches; a lack must also be called so (_UNSUPPORTED)."""

    named: re.Pattern[str]
    capability: str
    is_supported: bool = False

    def is_meant(self, message: str) -> bool:
        """Tell whether a rejection's message teaches this."""
        says_so = self.is_supported or _UNSUPPORTED.search(message)
        return bool(says_so and self.named.search(message))


@dataclass
class ReceivedParts:
    """What was received of a response so far, in the provider's own words; `finish` is its finish reason."""

    text: str = ""
    finish: Any = None
    refusal: str = ""
    usage: Usage | None = None
    model: str | None = None
    is_cut: bool = False
    progress: Progress | None = None
    first_text_at: float | None = None

    def add(self, text: str) -> None:
        """Append a part of a streamed answer."""
        if not text:
            return
        self.first_text_at = self.first_text_at or time.monotonic()
        self.text += text
        if self.progress is not None:
            self.progress.add(text)

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
            first_text_seconds=self.first_text_at,
        )


class SdkProvider(ABC):
    """A provider reached through its SDK; safe for use by several threads at once."""

    sdk_error: type[Exception]
    adaptations: Sequence[Adaptation] = ()
    response_formats: tuple[ResponseFormat, ...]

    def __init__(self, client: Client, endpoint: Endpoint, *, options: ProviderOptions) -> None:
        self.name = endpoint.name
        self.base_url = endpoint.address
        self._endpoint = endpoint
        self._connections = client
        self._options = options
        self._token = BearerToken(endpoint.token_command)

    def capabilities_of(self, model: str) -> ModelCapabilities:
        """Return what the server supports for this model."""
        key = model_key(self.name, model, url=self.base_url)
        return ModelCapabilities(key, self._endpoint.capabilities, self._options.learned)

    def send(self, request: ModelRequest, model: str) -> ModelResponse:
        """Return the model's complete response before the request's deadline. Raises only ModelError.

        A request that the server rejects because of a parameter is sent again without it.
        """
        learned: set[str] = set()
        while True:
            try:
                return self._send(request, model)
            except (ModelRequestRejected, ModelUnknown) as error:
                if not self._adapt(error, model, learned):
                    raise

    def close(self) -> None:
        """Close the connections."""
        self._connections.close()

    def _send(self, request: ModelRequest, model: str) -> ModelResponse:
        started = time.monotonic()
        left = request.deadline - started
        if left <= 0:
            raise error_translation.timeout_error(provider=self.name, model=model)
        with track_sending() as is_sent:
            try:
                parameters = self._parameters(request, model) | {"timeout": left} | self._authorization(model)
                extra = self._options.extra_body.get(f"{self.name}:{model}", {})
                parameters = with_extra_body(parameters, extra)
                if not self.uses("stream", model):
                    return self._single(parameters)
                if request.progress is not None:
                    request.progress.begin()
                response = self._streamed(parameters, ReceivedParts(progress=request.progress))
            except (self.sdk_error, *error_translation.TRANSLATED) as error:
                raise error_translation.translate(
                    error, provider=self.name, model=model, was_sent=is_sent()
                ) from None
        first = response.first_text_seconds
        return replace(response, first_text_seconds=None if first is None else first - started)

    def _adapt(self, error: ModelRequestRejected | ModelUnknown, model: str, learned: set[str]) -> bool:
        """Learn from a rejection; return whether the request can be made in another way that was not tried yet."""
        if error.details.get("status") not in (400, 404, 422):
            return False
        said, capabilities = error.message.partition(": ")[2], self.capabilities_of(model)
        for adaptation in self.adaptations:
            _, capability, is_supported = adaptation
            is_new = capability not in learned and self.uses(capability, model) is not is_supported
            if is_new and adaptation.is_meant(said):
                learned.add(capability)
                capabilities.learn(capability, is_supported=is_supported)
                return True
        return False

    def uses(self, capability: str, model: str) -> bool:
        """Tell whether requests to a model make use of a capability."""
        is_wanted = capability != "stream" or self._options.is_streaming
        return is_wanted and self.capabilities_of(model).has(
            capability, default=self._default(capability, model)
        )

    def _default(self, capability: str, model: str) -> bool:
        """Return what holds for a capability that nobody stated or learned."""
        return True

    def _authorization(self, model: str) -> dict[str, Any]:
        token = self._token.current(provider=self.name, model=model)
        return {"extra_headers": {"Authorization": f"Bearer {token}"}} if token else {}

    @abstractmethod
    def _parameters(self, request: ModelRequest, model: str) -> dict[str, Any]:
        """Return the parameters of the SDK's call, except the timeout."""

    @abstractmethod
    def _single(self, parameters: dict[str, Any]) -> ModelResponse:
        """Call the SDK for a response in one piece."""

    def _streamed(self, parameters: dict[str, Any], received: ReceivedParts) -> ModelResponse:
        """Call the SDK for a streamed response, if the provider has streams; fill `received` on the way."""
        return self._single(parameters)


def with_extra_body(parameters: dict[str, Any], extra: Mapping[str, Any]) -> dict[str, Any]:
    """Return an SDK's parameters with the operator's: objects are merged member by member, other values replaced."""
    objects = {
        name for name in extra if isinstance(parameters.get(name), dict) and isinstance(extra[name], Mapping)
    }
    merged = {name: _merged(parameters[name], extra[name]) for name in objects}
    rest = {name: value for name, value in extra.items() if name not in objects}
    return parameters | merged | {"extra_body": rest or None}


class BearerToken:
    """The token that an endpoint's command prints, such as one of Entra ID; it is asked again after 5 minutes."""

    def __init__(self, command: Sequence[str]) -> None:
        self._command = tuple(command)
        self._text = ""
        self._until = 0.0
        self._lock = threading.Lock()

    def current(self, *, provider: str, model: str) -> str:
        """Return the token; an empty string without a command. Raises ModelUnauthorised."""
        if not self._command:
            return ""
        with self._lock:
            if time.monotonic() >= self._until:
                self._text = self._new(provider, model)
                self._until = time.monotonic() + _TOKEN_SECONDS
            return self._text

    def _new(self, provider: str, model: str) -> str:
        try:
            done = subprocess.run(
                self._command, capture_output=True, text=True, timeout=_TOKEN_COMMAND_SECONDS, check=True
            )
        except (OSError, subprocess.SubprocessError) as error:
            raise _no_token(f"fails ({type(error).__name__})", provider, model) from None
        token = done.stdout.strip()
        if not re.fullmatch(r"[!-~]+", token):
            raise _no_token("prints no token", provider, model)
        return token


def _no_token(fault: str, provider: str, model: str) -> ModelUnauthorised:
    return ModelUnauthorised(
        f"The token_command of {provider} {fault}: run it yourself as the worker's user.",
        details={"provider": provider, "model": model},
    )


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
    refusals = (member_of(part, "refusal") for part in parts if member_of(part, "type") == "refusal")
    return "".join(refusal for refusal in refusals if isinstance(refusal, str))


def _texts(parts: Iterable[Any]) -> Iterable[str]:
    for part in parts:
        text = part if isinstance(part, str) else member_of(part, "text")
        if isinstance(text, str) and (isinstance(part, str) or member_of(part, "type") in _TEXT_PARTS):
            yield text


def _merged(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> dict[str, Any]:
    both = {
        name: _merged(ours[name], theirs[name])
        for name in ours.keys() & theirs.keys()
        if isinstance(ours[name], Mapping) and isinstance(theirs[name], Mapping)
    }
    return {**ours, **theirs, **both}


def member_of(part: Any, name: str) -> Any:
    """Return a member of an SDK's object or of plain JSON; None if it has none."""
    return part.get(name) if isinstance(part, Mapping) else getattr(part, name, None)
