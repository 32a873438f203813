"""Reads JSON bodies: limits their size before decoding, and is strict where Python's decoder is lenient."""

import json
import math
import re
from collections.abc import Iterator
from typing import Any

from flask import current_app, request
from werkzeug.exceptions import RequestEntityTooLarge, UnsupportedMediaType

from api.middleware.problem import MalformedBody
from orchestrator.models.errors import InvalidInput

MAX_DEPTH = 64
_MAX_INTEGER = 2**64
_STRING = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"?', re.DOTALL)
_BRACKET = re.compile(r"[][{}]")
_SURROGATE = re.compile("[\ud800-\udfff]")


def read_object() -> dict[str, Any]:
    """Return the request's body, which must be a JSON object.

    Raises UnsupportedMediaType (415), RequestEntityTooLarge (413), MalformedBody (400), InvalidInput (422).
    """
    charset = request.mimetype_params.get("charset", "utf-8").lower()
    is_plain = request.headers.get("Content-Encoding", "identity") == "identity"
    if request.mimetype != "application/json" or charset not in {"utf-8", "utf8"} or not is_plain:
        raise UnsupportedMediaType
    value = decode(_read_bounded(current_app.config["MAX_CONTENT_LENGTH"]))
    if not isinstance(value, dict):
        raise InvalidInput("The body must be a JSON object.")
    return value


def read_optional_object() -> dict[str, Any]:
    """Return the request's JSON object, or an empty one if there is no body."""
    if not request.content_length and "Transfer-Encoding" not in request.headers:
        return {}
    return read_object()


def decode(raw: bytes) -> Any:
    """Decode strict JSON (RFC 8259): UTF-8, unique names, finite numbers, at most MAX_DEPTH levels.

    A leading byte order mark is skipped. Raises MalformedBody, or InvalidInput for characters that Postgres can't
    store: NUL and lone surrogates.
    """
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise MalformedBody("The body is not UTF-8.") from error
    _check_depth(text)
    try:
        value = _DECODER.decode(text)
    except json.JSONDecodeError as error:
        raise MalformedBody(f"Not JSON: {error.msg} at line {error.lineno}, column {error.colno}.") from error
    # only escapes can produce them: raw ones are invalid JSON or invalid UTF-8
    if "\\u" in text:
        _check_characters(value)
    return value


def _read_bounded(limit: int) -> bytes:
    """Read the body, and one byte more than allowed, since Werkzeug silently truncates a chunked body at its limit."""
    request.max_content_length = limit + 1
    raw = request.get_data(cache=False)
    if len(raw) > limit:
        raise RequestEntityTooLarge
    return raw


def _check_depth(text: str) -> None:
    """Count brackets outside strings, before the decoder recurses into them."""
    depth = 0
    for bracket in _BRACKET.finditer(_STRING.sub("", text)):
        depth += 1 if bracket.group() in "[{" else -1
        if depth > MAX_DEPTH:
            raise MalformedBody(f"The body is nested deeper than {MAX_DEPTH} levels.")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise MalformedBody("An object in the body has the same member twice.")
    return members


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise MalformedBody("A number in the body is too large.")
    return number


def _bounded(text: str) -> int:
    if len(text) > 21 or abs(int(text)) >= _MAX_INTEGER:
        raise MalformedBody("An integer in the body does not fit in 64 bits.")
    return int(text)


def _no_constant(_name: str) -> Any:
    raise MalformedBody("NaN and Infinity are not JSON.")


_DECODER = json.JSONDecoder(
    object_pairs_hook=_unique, parse_float=_finite, parse_int=_bounded, parse_constant=_no_constant
)


def _check_characters(value: Any) -> None:
    for path, text in _strings(value, ""):
        if "\0" in text or _SURROGATE.search(text):
            raise InvalidInput.at(path or "body", "must not contain NUL characters or lone surrogates")


def _strings(value: Any, path: str) -> Iterator[tuple[str, str]]:
    """Yield every string in `value`, including member names, with its dotted path."""
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, dict):
        for name, item in value.items():
            yield path, name
            yield from _strings(item, f"{path}.{name}".lstrip("."))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _strings(item, f"{path}.{index}".lstrip("."))
