"""Costly patterns, run only near the cheap words that every match of theirs contains."""

import re
from collections.abc import Iterator, Sequence

_REACH = 200


def lower(text: str) -> str:
    """Lower a text without changing its length, so that places stay the same."""
    lowered = text.lower()
    if len(lowered) == len(text):
        return lowered
    return "".join(small if len(small := letter.lower()) == 1 else letter for letter in text)


def matches_near(
    text: str, lowered: str, keys: Sequence[str], pattern: re.Pattern[str], *, reach: int = _REACH
) -> Iterator[re.Match[str]]:
    """Yield the matches of a pattern within `reach` letters of a key; windows never overlap."""
    for start, end in _windows(lowered, keys, reach=reach):
        yield from pattern.finditer(text, start, end)


def _windows(lowered: str, keys: Sequence[str], *, reach: int) -> Iterator[tuple[int, int]]:
    places = sorted(place for key in keys for place in _places(lowered, key, stride=reach))
    start = end = -1
    for place in places:
        if place - reach > end:
            if end >= 0:
                yield start, end
            start = max(0, place - reach)
        end = min(len(lowered), place + 2 * reach)
    if end >= 0:
        yield start, end


def _places(lowered: str, key: str, *, stride: int) -> Iterator[int]:
    place = lowered.find(key)
    while place >= 0:
        yield place
        place = lowered.find(key, place + stride)
