"""Turns whatever a provider's SDK raises into our own errors, which survive pickling and say what may be done."""

import math
import re
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any

import httpx2

from orchestrator.errors import (
    ModelAnswerBroken,
    ModelConnectionLost,
    ModelError,
    ModelQuotaExhausted,
    ModelRateLimited,
    ModelRefused,
    ModelRequestRejected,
    ModelTimeout,
    ModelUnauthorised,
    ModelUnavailable,
    ModelUnknown,
)
from orchestrator.llm.interface import Finish
from orchestrator.llm.transport import AnswerTooLarge

CAUGHT = (
    httpx2.HTTPError,
    httpx2.StreamError,
    ValueError,
    AttributeError,
    TypeError,
    LookupError,
    RecursionError,
)
"""What reading an answer may raise besides the SDK's own errors: they parse 200s without checking them."""

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
# error events inside a stream come after status 200: their type says which status was meant
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
_KEY = re.compile(r"\b(?:sk|key|pk|Bearer)[-_ ][\w*.-]{6,}")


def checked_finish(finish: Any, known: Mapping[str, Finish], *, provider: str, model: str) -> Finish:
    """Return why an answer ended; raises ModelAnswerBroken for none, which is a cut stream, and for an unknown one."""
    if finish in known:
        return known[finish]
    how = "breaks off without a finish reason" if finish is None else f"ended by {str(finish)[:40]!r}"
    raise broken(how, provider=provider, model=model)


def translate(error: BaseException, *, provider: str, model: str) -> ModelError:
    """Return our error for what an SDK raised; duck-typed, for both SDKs are built alike."""
    details: dict[str, Any] = {"provider": provider, "model": model}
    if (known := _by_transport(error, details)) is not None:
        return known
    status = getattr(error, "status_code", None)
    body = _error_body(getattr(error, "body", None))
    if (not isinstance(status, int) or status < 400) and not body:
        return ModelAnswerBroken(
            f"{provider} sent something that is no answer ({type(error).__name__}).", details=details
        )
    return _by_status(status if isinstance(status, int) else 200, body, error, details)


def broken(reason: str, *, provider: str, model: str) -> ModelAnswerBroken:
    """Return the error of an answer that can't be used."""
    return ModelAnswerBroken(
        f"The answer of {provider} {model} {reason}.", details={"provider": provider, "model": model}
    )


def late(*, provider: str, model: str) -> ModelTimeout:
    """Return the error of a call for which there is no time left."""
    return ModelTimeout(
        f"{provider} {model} gave no whole answer in time.", details={"provider": provider, "model": model}
    )


def retry_after_seconds(headers: Mapping[str, str], *, now: float) -> float | None:
    """Return the pause that a provider asks for, in seconds or as a date (RFC 9110 10.2.3); None for none."""
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        text = headers.get(name, "").strip()
        if re.fullmatch(r"\d{1,12}(\.\d{1,6})?", text):
            return float(text) * unit
    try:
        seconds = parsedate_to_datetime(headers.get("retry-after", "")).timestamp() - now
    except (ValueError, TypeError, OverflowError):
        return None
    return max(0.0, seconds) if math.isfinite(seconds) else None


def _by_transport(error: BaseException, details: dict[str, Any]) -> ModelError | None:
    provider, model = details["provider"], details["model"]
    for cause in _causes(error):
        if isinstance(cause, AnswerTooLarge):
            return ModelAnswerBroken(f"{provider} {model}: {cause}.", details=details)
        if isinstance(cause, httpx2.ConnectError | httpx2.ConnectTimeout):
            return ModelUnavailable(f"{provider} can't be reached.", details=details)
        if isinstance(cause, httpx2.TimeoutException):
            return late(provider=provider, model=model)
        if isinstance(cause, httpx2.TransportError):
            return ModelConnectionLost(f"The connection to {provider} broke.", details=details)
    return None


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
    if kind is ModelRateLimited:
        pause = retry_after_seconds(_headers(error), now=time.time())
        details |= {"retry_after": pause} if pause is not None else {}
    if in_stream and kind is ModelUnavailable:
        return ModelAnswerBroken(f"{provider} {model} broke off with an error.", details=details)
    return kind(_message(kind, status, body, details), details=details)


def _message(kind: type[ModelError], status: int, body: Mapping[str, Any], details: Mapping[str, Any]) -> str:
    said = f"{details['provider']} {details['model']} answered {status}"
    if kind in (ModelRequestRejected, ModelUnknown) and isinstance(body.get("message"), str):
        # a refused key is echoed in part
        said += ": " + _KEY.sub("[key]", " ".join(body["message"].split()))[:300]
    return said


def _error_body(body: Any) -> Mapping[str, Any]:
    inner = body.get("error") if isinstance(body, Mapping) else None
    if isinstance(inner, Mapping):
        return inner
    return body if isinstance(body, Mapping) else {}


def _headers(error: BaseException) -> Mapping[str, str]:
    return getattr(getattr(error, "response", None), "headers", None) or {}
