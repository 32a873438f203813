"""Reads what a model wrote: where its reasoning ends, and which JSON values stand in the rest."""

import json
import math
import re
from collections import deque
from dataclasses import dataclass
from typing import Any

MAX_WASTED_CHARACTERS = 2**22
"""How much may be read in vain, for what begins like a value and is none: without a bound it would be quadratic."""
MAX_VALUES = 64
"""How many values are kept, the last ones."""

_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
_TOO_DEEP_COSTS = 2**12
_A_TRY_COSTS = 64
_COUNTED_AT_ONCE = 64
_NAMES = "think|thinking|reasoning|thought|thoughts"
_MARK = re.compile(rf"<\s*+(/?)\s*+(?:{_NAMES})\s*+>", re.IGNORECASE)
_LEADING = re.compile(rf"\s*<\s*(?:{_NAMES})\s*>", re.IGNORECASE)
_FENCE = re.compile(r"```[\w+-]*[ \t]*\r?\n(.*?)```", re.DOTALL)
_NEXT = re.compile(rf"(?P<mark>{_MARK.pattern})|(?P<fence>```)|(?P<opening>[{{\[])", re.IGNORECASE)


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError("a number beyond what can be kept")
    return number


_DECODER = json.JSONDecoder(parse_float=_finite, parse_constant=_finite)


@dataclass(frozen=True)
class Found:
    """The JSON values of an answer in their order, and whether one more was begun after them and not ended."""

    values: tuple[Any, ...]
    breaks_off: bool = False


def values_in(text: str) -> Found:
    """Return the JSON values in `text`: all of it, or what is fenced or begins at a brace or bracket.

    Reasoning is left out: from <think>, <thinking> and their like to the end mark, nested marks included; what stands
    before an end mark that nothing began (a server's template wrote the start); and what follows a start that no
    mark ends. Marks inside a value are part of it.
    """
    try:
        return Found((_DECODER.decode(text.strip()),))
    except (ValueError, RecursionError):
        return _Scan(text).run()


def without_reasoning(text: str) -> str:
    """Return the text without the reasoning that it begins with; text that is one JSON value stays as it is."""
    try:
        _DECODER.decode(text.strip())
    except (ValueError, RecursionError):
        pass
    else:
        return text
    first = _MARK.search(text)
    if first is None:
        return text
    if first[1]:
        return text[first.end() :].lstrip()
    if not _LEADING.match(text):
        return text
    return text[_end_of_reasoning(text, first.end()) :].lstrip()


def storable(text: str) -> str:
    """Return the text with U+FFFD for what a database can't keep and a request can't carry."""
    return _UNSTORABLE.sub("\ufffd", text)


def _end_of_reasoning(text: str, start: int) -> int:
    """Return where the reasoning ends whose start mark ends at `start`.

    A start that is only mentioned in it leaves the marks unbalanced: then the last end mark counts.
    """
    depth, last = 1, len(text)
    for mark in _MARK.finditer(text, start):
        depth += -1 if mark[1] else 1
        if mark[1]:
            last = mark.end()
        if depth == 0:
            return mark.end()
    return last


class _Scan:
    """One walk through a text, from what may begin a value to the next."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._end = len(text.rstrip())
        self._values: deque[Any] = deque(maxlen=MAX_VALUES)
        self._wasted = 0
        self._breaks_off = False

    def run(self) -> Found:
        position = 0
        while self._wasted < MAX_WASTED_CHARACTERS and (found := _NEXT.search(self._text, position)):
            if found["mark"]:
                position = self._past_mark(found)
            elif found["fence"]:
                position = self._past_fence(found)
            else:
                position = self._past_opening(found)
            self._wasted += _A_TRY_COSTS
        is_tired = self._wasted >= MAX_WASTED_CHARACTERS
        return Found(tuple(self._values), self._breaks_off or is_tired)

    def _past_mark(self, found: re.Match[str]) -> int:
        if "/" in found["mark"]:
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
            self._wasted += _TOO_DEEP_COSTS
        except json.JSONDecodeError as wrong:
            # an unterminated string is told by its start; the error counts lines from the text's start
            reached = self._end if wrong.msg.startswith("Unterminated") else wrong.pos
            self._wasted += reached - start + reached // _COUNTED_AT_ONCE
            self._breaks_off = self._breaks_off or reached >= self._end
        except ValueError:
            self._wasted += _TOO_DEEP_COSTS
        else:
            self._keep(value)
            return end
        return found.end()

    def _keep(self, value: Any) -> None:
        self._values.append(value)
        self._breaks_off = False
