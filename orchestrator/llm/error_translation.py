"""Translates the exceptions of a provider's SDK into our errors, which survive pickling and say whether to retry."""

import json
import math
import re
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any

import httpx2

from orchestrator.llm.provider import FinishReason
from orchestrator.llm.transport import AnswerEncoded, AnswerTooLarge, NotAnswered, Redirected
from orchestrator.models.model_choice import PROVIDERS
from orchestrator.models.model_errors import (
    ModelAnswerBroken,
    ModelConnectionLost,
    ModelError,
    ModelMisconfigured,
    ModelNoAnswer,
    ModelQuotaExhausted,
    ModelRateLimited,
    ModelRefused,
    ModelRequestRejected,
    ModelTimeout,
    ModelUnauthorised,
    ModelUnavailable,
    ModelUnknown,
)

TRANSLATED = (
    httpx2.HTTPError,
    httpx2.StreamError,
    httpx2.InvalidURL,
    ModelError,
    ValueError,
    AttributeError,
    TypeError,
    LookupError,
    RecursionError,
)
"""Exceptions besides the SDK's own: the SDKs parse responses of status 200 without validating them."""

_NO_CREDIT = {"insufficient_quota", "billing_error", "billing_hard_limit_reached", "billing_not_active"}
_REFUSED = {"content_filter", "content_policy_violation", "cyber_policy_violation"}
_BY_STATUS: Mapping[int, type[ModelError]] = {
    400: ModelRequestRejected,
    401: ModelUnauthorised,
    402: ModelQuotaExhausted,
    403: ModelRequestRejected,
    404: ModelUnknown,
    408: ModelUnavailable,
    409: ModelUnavailable,
    413: ModelRequestRejected,
    422: ModelRequestRejected,
    429: ModelRateLimited,
}
# error events inside a stream come after status 200: their type stands for the status
_STATUS_OF_TYPE = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "rate_limit_exceeded": 429,
}
_FORMAT = re.compile(
    r"\bgrammar|json.?schema|response_format|output_config|structured.output|system role", re.IGNORECASE
)
_LIMITS = ("length", "max_tokens", "max_output_tokens", "limit", "context_window")
_ERROR_MEMBERS = {"error", "message", "detail", "type", "code"}
_KEY = re.compile(r"\b(?:sk|key|pk|Bearer)[-_ ][\w*.-]{6,}")


def finish_reason_of(word: Any, known: Mapping[str, FinishReason]) -> FinishReason:
    """Return our finish reason for a provider's; an unknown word means STOP unless it names a limit."""
    name = str(word or "").lower()
    if name in known:
        return known[name]
    return FinishReason.LENGTH if any(part in name for part in _LIMITS) else FinishReason.STOP


def translate(error: BaseException, *, provider: str, model: str, was_sent: bool = True) -> ModelError:
    """Return our error for an SDK's exception; duck-typed, since both SDKs have the same structure.

    `was_sent=False`: nothing was sent yet, so that the cause is our code or a setting.
    """
    details: dict[str, Any] = {"provider": provider, "model": model}
    if isinstance(error, ModelError):
        return error
    if (known := _by_transport(error, details, was_sent=was_sent)) is not None:
        return known
    if not was_sent:
        return ModelMisconfigured(
            f"The request to {provider} {model} can't be made ({type(error).__name__}): correct "
            f"{_settings_of(provider)}.",
            details=details,
        )
    status = getattr(error, "status_code", None)
    full_body = getattr(error, "body", None)
    body = _error_body(full_body)
    status = status if isinstance(status, int) else 200
    if status < 400 and not body.keys() & _ERROR_MEMBERS:
        if full_body == {}:
            return _no_answer("something that is not an answer", provider=provider, model=model)
        return ModelAnswerBroken(
            f"{provider} sent something that is not an answer ({type(error).__name__}).", details=details
        )
    return _by_status(status, body, error, details)


def is_single_response(response: httpx2.Response) -> bool:
    """Tell whether a server ignored the request for a stream and sends its response in one piece."""
    return "json" in response.headers.get("content-type", "").partition(";")[0].lower()


def read_single_response(response: httpx2.Response) -> dict[str, Any]:
    """Return the body of a response in one piece. Raises ValueError if it is not a JSON object."""
    body = json.loads(response.read())
    if not isinstance(body, dict):
        raise ValueError("the response is not a JSON object")
    return body


def no_answer_error(reply: Any, *, provider: str, model: str) -> ModelError:
    """Return the error for JSON without an answer; it quotes the error message in the JSON, if any."""
    body = {**(getattr(reply, "model_extra", None) or {})}
    message = _error_text(_error_body({name: body[name] for name in body.keys() & _ERROR_MEMBERS}))
    return _no_answer(f"no answer{f': {message}' if message else ''}", provider=provider, model=model)


def _no_answer(what: str, *, provider: str, model: str) -> ModelNoAnswer:
    return ModelNoAnswer(f"{provider} {model} sent {what}.", details={"provider": provider, "model": model})


def broken_answer_error(reason: str, *, provider: str, model: str) -> ModelAnswerBroken:
    """Return the error for an unusable answer; `reason` completes "The answer of PROVIDER MODEL ..."."""
    return ModelAnswerBroken(
        f"The answer of {provider} {model} {reason}.", details={"provider": provider, "model": model}
    )


def timeout_error(*, provider: str, model: str) -> ModelTimeout:
    """Return the error for a call whose deadline has passed."""
    return ModelTimeout(
        f"{provider} {model} gave no complete answer in time.", details={"provider": provider, "model": model}
    )


def retry_after_seconds(headers: Mapping[str, str], *, now: float) -> float | None:
    """Return the pause that a provider asks for, in seconds (RFC 9110 10.2.3: a number or a date), or None."""
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        text = headers.get(name, "").strip()
        if re.fullmatch(r"\d{1,12}(\.\d{1,6})?", text):
            return float(text) * unit
    try:
        seconds = parsedate_to_datetime(headers.get("retry-after", "")).timestamp() - now
    except (ValueError, TypeError, OverflowError):
        return None
    return max(0.0, seconds) if math.isfinite(seconds) else None


def _by_transport(error: BaseException, details: dict[str, Any], *, was_sent: bool) -> ModelError | None:
    provider, model = details["provider"], details["model"]
    for cause in _causes(error):
        if isinstance(cause, AnswerTooLarge | AnswerEncoded):
            return ModelAnswerBroken(f"{provider} {model}: {cause}.", details=details)
        if isinstance(cause, Redirected):
            return _redirected(cause.location, details)
        if isinstance(cause, NotAnswered):
            return ModelNoAnswer(f"{provider} {model} {cause}.", details=details)
        if isinstance(cause, httpx2.ConnectError | httpx2.ConnectTimeout):
            return ModelUnavailable(f"{provider} can't be reached.", details=details)
        if isinstance(cause, httpx2.ProxyError):
            return ModelUnavailable(
                f"The proxy on the way to {provider} refuses the connection.", details=details
            )
        if isinstance(cause, httpx2.TimeoutException):
            return timeout_error(provider=provider, model=model)
        if isinstance(cause, httpx2.TransportError) and was_sent:
            return ModelConnectionLost(f"The connection to {provider} broke.", details=details)
    return None


def _redirected(location: str, details: dict[str, Any]) -> ModelMisconfigured:
    provider = details["provider"]
    base = re.sub(r"(/chat/completions|/v1/messages|/embeddings|/responses)/?$", "", location)[:300]
    return ModelMisconfigured(
        f"The server redirects to {base}: set {_url_setting_of(provider)} to it.",
        details={**details, "location": base},
    )


def _url_setting_of(provider: str) -> str:
    return f"{provider.upper()}_BASE_URL" if provider in PROVIDERS else f"{provider}.url in LLM_ENDPOINTS"


def _settings_of(provider: str) -> str:
    if provider not in PROVIDERS:
        return f"the endpoint {provider} in the file of LLM_ENDPOINTS, or the keys that it names"
    upper = provider.upper()
    return f"{upper}_API_KEY, {upper}_BASE_URL or the other {upper}_ variables"


def _causes(error: BaseException | None) -> list[BaseException]:
    found: list[BaseException] = []
    while error is not None and error not in found:
        found.append(error)
        error = error.__cause__ or error.__context__
    return found


def _by_status(
    status: int, body: Mapping[str, Any], error: BaseException, details: dict[str, Any]
) -> ModelError:
    provider, model = details["provider"], details["model"]
    words = {str(body.get("type", "")), str(body.get("code", ""))}
    in_stream = status < 400
    if in_stream:
        status = next((_STATUS_OF_TYPE[word] for word in words if word in _STATUS_OF_TYPE), 500)
    details |= {"status": status, "reason": next((word for word in sorted(words) if word), "")}
    if words & _NO_CREDIT:
        return ModelQuotaExhausted(f"The account at {provider} has no credit left.", details=details)
    if words & _REFUSED:
        return ModelRefused(f"{provider} {model} declines this request.", details=details)
    kind = _BY_STATUS.get(status, ModelUnavailable if status >= 500 else ModelRequestRejected)
    if kind is ModelUnavailable and status >= 500 and not in_stream and _FORMAT.search(_error_text(body)):
        # llama.cpp reports a grammar that it can't compile as an error of its own
        kind, details["is_format"] = ModelRequestRejected, True
    if kind is ModelRateLimited:
        pause = retry_after_seconds(_headers(error), now=time.time())
        details |= {"retry_after": pause} if pause is not None else {}
    if in_stream and kind is ModelUnavailable:
        message = _error_text(body)
        return ModelAnswerBroken(
            f"{provider} {model} broke off with an error{f': {message}' if message else ''}.", details=details
        )
    return kind(_message(kind, status, body, details), details=details)


def _message(kind: type[ModelError], status: int, body: Mapping[str, Any], details: Mapping[str, Any]) -> str:
    summary = f"{details['provider']} {details['model']} answered {status}"
    # providers echo part of a rejected key
    message = "" if kind is ModelUnauthorised else _error_text(body)
    return f"{summary}: {message}" if message else summary


def _error_text(body: Mapping[str, Any]) -> str:
    """Return the message of an error's body as one short line, without API keys."""
    words = next((body[name] for name in ("message", "detail", "msg", "error") if body.get(name)), "")
    if isinstance(words, list):
        words = "; ".join(str(item.get("msg", "")) for item in words if isinstance(item, Mapping))
    return _KEY.sub("[key]", " ".join(words.split()))[:300] if isinstance(words, str) else ""


def _error_body(body: Any) -> Mapping[str, Any]:
    """Return the error in a body: {"error": {...}}, {"error": "..."}, {"detail": ...}, {"message": ...} or a text."""
    inner = body.get("error") if isinstance(body, Mapping) else body
    if isinstance(inner, Mapping):
        return inner
    if isinstance(inner, str):
        # an HTML page makes no useful line
        words = {} if inner.lstrip().startswith("<") else {"message": inner}
        return {**body, **words} if isinstance(body, Mapping) else words
    return body if isinstance(body, Mapping) else {}


def _headers(error: BaseException) -> Mapping[str, str]:
    return getattr(getattr(error, "response", None), "headers", None) or {}
