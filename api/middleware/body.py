"""Reads JSON bodies: limits their size before they are decoded, strictly."""

from typing import Any

from flask import current_app, request
from werkzeug.exceptions import RequestEntityTooLarge, UnsupportedMediaType

from api.middleware.problem import MalformedBody
from orchestrator.models.errors import InvalidInput
from orchestrator.rules import strict_json


def read_object() -> dict[str, Any]:
    """Return the request's body, which must be a JSON object. Raises what `read_value` does."""
    value = read_value()
    if not isinstance(value, dict):
        raise InvalidInput("The body must be a JSON object.")
    return value


def read_value() -> Any:
    """Return the request's body, which must be JSON.

    Raises UnsupportedMediaType (415), RequestEntityTooLarge (413), MalformedBody (400), InvalidInput (422).
    """
    charset = request.mimetype_params.get("charset", "utf-8").lower()
    is_plain = request.headers.get("Content-Encoding", "identity") == "identity"
    if request.mimetype != "application/json" or charset not in {"utf-8", "utf8"} or not is_plain:
        raise UnsupportedMediaType
    return decode(_read_bounded(current_app.config["MAX_CONTENT_LENGTH"]))


def read_optional_object() -> dict[str, Any]:
    """Return the request's JSON object, or an empty one if there is no body."""
    if not request.content_length and "Transfer-Encoding" not in request.headers:
        return {}
    return read_object()


def decode(raw: bytes) -> Any:
    """Decode a body as orchestrator.rules.strict_json does.

    Raises MalformedBody, or InvalidInput for characters that Postgres can't store.
    """
    try:
        return strict_json.decode(raw)
    except strict_json.MalformedJson as error:
        raise MalformedBody(f"The body {error}.") from error
    except strict_json.UnstorableText as error:
        message = "must not contain NUL characters or lone surrogates"
        raise InvalidInput.at(str(error) or "body", message) from error


def _read_bounded(limit: int) -> bytes:
    """Read the body, and one byte more than allowed, since Werkzeug silently truncates a chunked body at its limit."""
    request.max_content_length = limit + 1
    raw = request.get_data(cache=False)
    if len(raw) > limit:
        raise RequestEntityTooLarge
    return raw
