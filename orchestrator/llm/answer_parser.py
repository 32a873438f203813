"""Parses a model's text: finds the end of its reasoning, and the JSON values in the rest."""

import json
import math
import re
from collections import deque
from dataclasses import dataclass
from typing import Any

MAX_WASTED_CHARACTERS = 2**22
"""How many characters may be read for values that turn out invalid: without a bound the time would be quadratic."""
MAX_VALUES = 64
"""Only the last values are kept."""

_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
_TOO_DEEP_COST = 2**12
_TRY_COST = 64
_LINE_COUNT_SPEED = 64
_NAMES = "think|thinking|reasoning|thought|thoughts"
_TAG = re.compile(rf"<\s*+(/?)\s*+(?:{_NAMES})\s*+>", re.IGNORECASE)
_LEADING = re.compile(rf"\s*<\s*(?:{_NAMES})\s*>", re.IGNORECASE)
_FENCE = re.compile(r"```[\w+-]*[ \t]*\r?\n(.*?)```", re.DOTALL)
_NEXT = re.compile(rf"(?P<tag>{_TAG.pattern})|(?P<fence>```)|(?P<opening>[{{\[])", re.IGNORECASE)


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError("a number that is too large to store")
    return number


_DECODER = json.JSONDecoder(parse_float=_finite, parse_constant=_finite)


@dataclass(frozen=True)
class ParsedValues:
    """The JSON values of an answer in order; `breaks_off`: another value begins after them and does not end."""

    values: tuple[Any, ...]
    breaks_off: bool = False


def parse_values(text: str) -> ParsedValues:
    """Return the JSON values in `text`: the whole text, or values in code fences or at a brace or bracket.

    Reasoning is skipped: everything from a start tag (<think>, <thinking> and similar) to its end tag, also nested;
    everything before an end tag without a start tag (a server's template wrote the start); and everything after a
    start tag without an end tag. Tags inside a value are part of the value.
    """
    try:
        return ParsedValues((_DECODER.decode(text.strip()),))
    except (ValueError, RecursionError):
        return _Scan(text).run()


def without_reasoning(text: str) -> str:
    """Return the text without leading reasoning; a text that is one JSON value is returned unchanged."""
    try:
        _DECODER.decode(text.strip())
    except (ValueError, RecursionError):
        pass
    else:
        return text
    first = _TAG.search(text)
    if first is None:
        return text
    if first[1]:
        return text[first.end() :].lstrip()
    if not _LEADING.match(text):
        return text
    return text[_end_of_reasoning(text, first.end()) :].lstrip()


def replace_unstorable(text: str) -> str:
    """Replace characters that a database can't store and a request can't carry by U+FFFD."""
    return _UNSTORABLE.sub("\ufffd", text)


def _end_of_reasoning(text: str, start: int) -> int:
    """Return the end of the reasoning whose start tag ends at `start`.

    Reasoning that only mentions a start tag leaves the tags unbalanced: then the last end tag counts.
    """
    depth, last = 1, len(text)
    for tag in _TAG.finditer(text, start):
        depth += -1 if tag[1] else 1
        if tag[1]:
            last = tag.end()
        if depth == 0:
            return tag.end()
    return last


class _Scan:
    """One pass through a text, from each possible start of a value to the next."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._end = len(text.rstrip())
        self._values: deque[Any] = deque(maxlen=MAX_VALUES)
        self._wasted = 0
        self._breaks_off = False

    def run(self) -> ParsedValues:
        position = 0
        while self._wasted < MAX_WASTED_CHARACTERS and (found := _NEXT.search(self._text, position)):
            if found["tag"]:
                position = self._past_tag(found)
            elif found["fence"]:
                position = self._past_fence(found)
            else:
                position = self._past_opening(found)
            self._wasted += _TRY_COST
        is_exhausted = self._wasted >= MAX_WASTED_CHARACTERS
        return ParsedValues(tuple(self._values), self._breaks_off or is_exhausted)

    def _past_tag(self, found: re.Match[str]) -> int:
        if "/" in found["tag"]:
            self._values.clear()
            self._breaks_off = False
            return found.end()
        return _end_of_reasoning(self._text, found.end())

    def _past_fence(self, found: re.Match[str]) -> int:
        block = _FENCE.match(self._text, found.start())
        if block is None:
            self._wasted += self._end - found.start()
            return found.end()
        try:
            self._keep(_DECODER.decode(block[1].strip()))
        except (ValueError, RecursionError):
            self._wasted += len(block[0])
            return found.end()
        return block.end()

    def _past_opening(self, found: re.Match[str]) -> int:
        start = found.start()
        try:
            value, end = _DECODER.raw_decode(self._text, start)
        except RecursionError:
            self._wasted += _TOO_DEEP_COST
        except json.JSONDecodeError as wrong:
            # the error of an unterminated string gives its start; making an error counts lines from the text's start
            reached = self._end if wrong.msg.startswith("Unterminated") else wrong.pos
            self._wasted += reached - start + reached // _LINE_COUNT_SPEED
            self._breaks_off = self._breaks_off or reached >= self._end
        except ValueError:
            self._wasted += _TOO_DEEP_COST
        else:
            self._keep(value)
            return end
        return found.end()

    def _keep(self, value: Any) -> None:
        self._values.append(value)
        self._breaks_off = False
