"""Turns every error into RFC 9457 problem details, with the extra members that OctoLLM's clients read."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

import structlog
from flask import Flask, Response, jsonify, request
from werkzeug.exceptions import HTTPException

from api.middleware.context import request_id
from orchestrator.chord.database import is_away
from orchestrator.models.errors import (
    Forbidden,
    InvalidCredential,
    InvalidInput,
    InvalidOperation,
    NotCached,
    NotFound,
    OctoError,
    QueueFull,
    TooMuch,
    Unauthenticated,
    Unavailable,
    Unplannable,
)

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_SECONDS = 5

_log = structlog.get_logger(__name__)


class MalformedBody(OctoError):
    """The body is not valid JSON."""

    code = "malformed_json"


class StillRunning(OctoError):
    """The task has not ended in the time that a caller may wait for it."""

    code = "still_running"
    retryable = True


class CursorAhead(InvalidOperation):
    """The cursor is beyond the task's last event: the database was restored, and its history is an older one."""

    code = "cursor_ahead"


_CHALLENGE = 'Bearer realm="octollm"'
_STATUS: dict[type[OctoError], int] = {
    MalformedBody: 400,
    Unauthenticated: 401,
    Forbidden: 403,
    NotFound: 404,
    NotCached: 504,
    StillRunning: 504,
    InvalidOperation: 409,
    InvalidInput: 422,
    Unplannable: 422,
    TooMuch: 429,
    QueueFull: 503,
    Unavailable: 503,
}
_HTTP_CODES = {
    404: ("endpoint_not_found", "There is no such endpoint."),
    405: ("method_not_allowed", "This endpoint does not support this method; see the Allow header."),
    413: ("payload_too_large", "The body is larger than this endpoint accepts."),
    500: ("internal_error", "Internal error; search the server's log for the request id."),
    426: (
        "upgrade_required",
        "This endpoint is a WebSocket: send an upgrade request, or use GET /events instead.",
    ),
    415: ("unsupported_media_type", "Send the body as application/json in UTF-8."),
}


def install(app: Flask) -> None:
    """Answer every error of the app as a problem, including unknown routes and unexpected exceptions."""
    app.register_error_handler(OctoError, from_octo_error)
    app.register_error_handler(HTTPException, from_http)
    app.register_error_handler(Exception, from_unexpected)


def catalogue() -> dict[str, dict[str, Any]]:
    """Return what problems there are: {code: {status, text, and the code that it is a kind of, if any}}."""
    found = {
        code: {"status": status, "text": text, "kind_of": None}
        for status, (code, text) in _HTTP_CODES.items()
    }
    for top, status in _STATUS.items():
        for kind in _kinds(top):
            # others are not the API's
            if kind.__module__ in (OctoError.__module__, __name__):
                text = (kind.__doc__ or "").partition("\n")[0]
                above = None if kind is top or kind.__base__ is top else kind.__base__
                found[kind.code] = {"status": status, "text": text, "kind_of": getattr(above, "code", None)}
    return dict(sorted(found.items()))


def _kinds(top: type[OctoError]) -> Iterator[type[OctoError]]:
    yield top
    for kind in top.__subclasses__():
        if kind not in _STATUS:
            yield from _kinds(kind)


def from_octo_error(error: OctoError) -> Response:
    """Return one of our errors as a problem."""
    status = next((_STATUS[kind] for kind in type(error).__mro__ if kind in _STATUS), 500)
    if status == HTTPStatus.INTERNAL_SERVER_ERROR:
        return from_unexpected(error)
    response = _problem(
        status, error.code, error.message, details=error.details, retry_after=_retry_after(error)
    )
    if isinstance(error, Unauthenticated):
        # RFC 6750, 3: no error attribute if the request had no credential
        has_credential = isinstance(error, InvalidCredential)
        response.headers["WWW-Authenticate"] = _CHALLENGE + (
            ', error="invalid_token"' if has_credential else ""
        )
    return response


def from_http(error: HTTPException) -> Response | HTTPException:
    """Return one of Werkzeug's errors as a problem; return a redirect unchanged."""
    status = error.code or 500
    if status < HTTPStatus.BAD_REQUEST:
        return error
    code, message = _HTTP_CODES.get(status, (_snake(HTTPStatus(status).phrase), HTTPStatus(status).phrase))
    response = _problem(status, code, message)
    for name, value in error.get_headers():
        if name not in {"Content-Type", "Content-Length"}:
            response.headers[name] = value
    return response


def from_unexpected(error: Exception) -> Response:
    """Return any other error as a problem, and log it: 503 if the database is away, else 500."""
    if is_away(error):
        _log.warning("http.database_away", error=type(error).__name__)
        return from_octo_error(Unavailable("The database can't be reached; try again."))
    _log.error("http.failed", exc_info=error)
    return _problem(500, "internal_error", "Internal error; search the server's log for the request id.")


def _problem(
    status: int, code: str, message: str, *, details: Mapping[str, Any] | None = None, retry_after: int = 0
) -> Response:
    """Return a problem response; `retry_after` is in seconds, 0 if a retry can't succeed."""
    details = dict(details or {})
    body = {
        "type": f"urn:octollm:problem:{code}",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": message,
        "instance": request.path[:200],
        "code": code,
        "message": message,
        "details": details,
        "retryable": retry_after > 0,
        "retry_after": retry_after,
        "request_id": request_id(),
        "timestamp": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "error": {"code": code, "message": message, "details": details},
    }
    response = jsonify(body)
    response.status_code = status
    response.mimetype = MEDIA_TYPE
    if retry_after:
        response.headers["Retry-After"] = str(retry_after)
    return response


def _retry_after(error: OctoError) -> int:
    return int(error.details.get("retry_after", RETRY_AFTER_SECONDS)) if error.retryable else 0


def _snake(phrase: str) -> str:
    return phrase.lower().replace(" ", "_").replace("-", "_")
