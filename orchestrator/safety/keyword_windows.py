"""Runs expensive patterns only near the keywords that each of their matches contains."""

import re
from collections.abc import Iterator, Sequence

_REACH = 200


def lower_same_length(text: str) -> str:
    """Return the text in lower case with the same length, so that indices stay valid."""
    lowered = text.lower()
    if len(lowered) == len(text):
        return lowered
    return "".join(small if len(small := letter.lower()) == 1 else letter for letter in text)


def finditer_near(
    text: str, lowered: str, keys: Sequence[str], pattern: re.Pattern[str], *, reach: int = _REACH
) -> Iterator[re.Match[str]]:
    """Yield the matches of a pattern within `reach` characters of a keyword; the searched windows never overlap."""
    present = [key for key in keys if key in lowered]
    if not present:
        return
    for start, end in _windows(lowered, present, reach=reach):
        yield from pattern.finditer(text, start, end)


def _windows(lowered: str, keys: Sequence[str], *, reach: int) -> Iterator[tuple[int, int]]:
    indices = sorted(index for key in keys for index in _occurrences(lowered, key, stride=reach))
    start = end = -1
    for index in indices:
        if index - reach > end:
            if end >= 0:
                yield start, end
            start = max(0, index - reach)
        end = min(len(lowered), index + 2 * reach)
    if end >= 0:
        yield start, end


def _occurrences(lowered: str, key: str, *, stride: int) -> Iterator[int]:
    index = lowered.find(key)
    while index >= 0:
        yield index
        index = lowered.find(key, index + stride)
