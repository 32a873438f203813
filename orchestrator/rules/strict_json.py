"""Decodes JSON from outside strictly (RFC 8259), and bounds its depth before the decoder recurses into it."""

import json
import math
import re
from collections.abc import Iterator
from typing import Any

MAX_DEPTH = 64
_MAX_INTEGER = 2**64
_STRING = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"?', re.DOTALL)
_BRACKET = re.compile(r"[][{}]")
_SURROGATE = re.compile("[\ud800-\udfff]")


class MalformedJson(ValueError):
    """The text is not strict JSON; the message is a clause that says why, without its subject."""


class UnstorableText(ValueError):
    """A string has characters that Postgres can't store: NUL or a lone surrogate; holds its dotted path."""


def decode(raw: bytes) -> Any:
    """Decode strict JSON: UTF-8, unique names, finite numbers, integers of 64 bits, at most MAX_DEPTH levels.

    A leading byte order mark is skipped. Raises MalformedJson or UnstorableText.
    """
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise MalformedJson("is not UTF-8") from error
    _check_depth(text)
    try:
        value = _DECODER.decode(text)
    except json.JSONDecodeError as error:
        raise MalformedJson(
            f"is not JSON: {error.msg} at line {error.lineno}, column {error.colno}"
        ) from error
    # only escapes can produce them: raw ones are invalid JSON or invalid UTF-8
    if "\\u" in text:
        _check_characters(value)
    return value


def _check_depth(text: str) -> None:
    """Count brackets outside strings, before the decoder recurses into them."""
    depth = 0
    for bracket in _BRACKET.finditer(_STRING.sub("", text)):
        depth += 1 if bracket.group() in "[{" else -1
        if depth > MAX_DEPTH:
            raise MalformedJson(f"is nested deeper than {MAX_DEPTH} levels")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise MalformedJson("has an object with the same member twice")
    return members


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise MalformedJson("has a number that is too large")
    return number


def _bounded(text: str) -> int:
    if len(text) > 21 or abs(int(text)) >= _MAX_INTEGER:
        raise MalformedJson("has an integer that does not fit in 64 bits")
    return int(text)


def _no_constant(_name: str) -> Any:
    raise MalformedJson("has NaN or Infinity, which are not JSON")


_DECODER = json.JSONDecoder(
    object_pairs_hook=_unique, parse_float=_finite, parse_int=_bounded, parse_constant=_no_constant
)


def _check_characters(value: Any) -> None:
    for path, text in _strings(value, ""):
        if "\0" in text or _SURROGATE.search(text):
            raise UnstorableText(path)


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
