"""What a run of characters between spaces is, once the punctuation around it has fallen off."""

import re

_DIGITS = frozenset("0123456789")
_OWNERS = _DIGITS | frozenset("sS")
_FACTORIALS = _DIGITS | frozenset(")")
_STOPS = frozenset(".,;:!?")
_DROPPED_AT_END = frozenset(".,;:!?'\"¿¡")
_DROPPED_AT_START = frozenset(",;'\"¿¡")
_PUNCTUATION = _STOPS | frozenset("¿¡'\"()[]{}-—")
_CLOSES = {")": "(", "]": "[", "}": "{"}
_BRACKETS = re.compile(r"[()\[\]{}]")
_LINK = re.compile(r"<[A-Za-z][A-Za-z0-9+.-]*:[^<>]+>|<[^@<>]+@[^@<>]+>")
_TWO_LETTERS = re.compile(r"[A-Za-z]{2}|[^\x00-\x7f]")


class Chunk:
    """A chunk parted into its core and the punctuation `before` and `after` it, in linear time."""

    def __init__(self, text: str, *, last: bool) -> None:
        self._text, self._partners, self._last = text, _partners(text), last
        self._has_word = _TWO_LETTERS.search(text) is not None
        start, end = 0, len(text)
        while start < end and (step := self._step(start, end)) != (start, end):
            start, end = step
        self.before, self.core, self.after = text[:start], text[start:end], text[end:]

    @property
    def is_punctuation(self) -> bool:
        """True if nothing is left of it, or one mark that only parts a sentence."""
        return not self.core or set(self._text) <= _PUNCTUATION

    @property
    def is_closed(self) -> bool:
        """True if it ended in a stop or a comma."""
        return any(mark in _STOPS for mark in self.after)

    def _step(self, start: int, end: int) -> tuple[int, int]:
        if self._drops_end(start, end):
            return start, end - 1
        if self._is_wrapped(start, end):
            return start + 1, end - 1
        return (start + 1, end) if self._drops_start(start, end) else (start, end)

    def _drops_end(self, start: int, end: int) -> bool:
        mark = self._text[end - 1]
        if mark in _CLOSES:
            return end - 1 not in self._partners
        if mark not in _DROPPED_AT_END:
            return False
        return not self._belongs_to(mark, before=self._text[end - 2 : end - 1], alone=end - start == 2)

    def _belongs_to(self, mark: str, *, before: str, alone: bool) -> bool:
        """Tell a factorial, a possessive, feet and inches from punctuation."""
        if mark == "!":
            return not self._last and (
                before in _FACTORIALS or (alone and before.isascii() and before.isalpha())
            )
        return (mark == "'" and before in _OWNERS) or (mark == '"' and before in _DIGITS)

    def _is_wrapped(self, start: int, end: int) -> bool:
        if self._text[end - 1] == ">":
            return _LINK.fullmatch(self._text, start, end) is not None
        return self._text[end - 1] == ")" and self._partners.get(end - 1) == start and self._has_word

    def _drops_start(self, start: int, end: int) -> bool:
        mark = self._text[start]
        if mark in "([{":
            return start not in self._partners
        if mark == ".":
            return self._text.startswith("...", start) or (start > 0 and self._text[start - 1] == ".")
        return mark in _DROPPED_AT_START


def _partners(text: str) -> dict[int, int]:
    partners: dict[int, int] = {}
    opened: list[int] = []
    for found in _BRACKETS.finditer(text):
        mark, place = found[0], found.start()
        if mark not in _CLOSES:
            opened.append(place)
        elif opened and text[opened[-1]] == _CLOSES[mark]:
            partners[place] = opened.pop()
            partners[partners[place]] = place
    return partners
