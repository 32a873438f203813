"""Copies of a text in which disguises are taken off, each letter still knowing where it came from."""

import re
import tomllib
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import compress
from pathlib import Path

_LOOKALIKES: Mapping[str, str] = {
    lookalike: letter
    for letter, lookalikes in tomllib.loads(
        Path(__file__).with_name("lookalikes.toml").read_text("utf-8")
    ).items()
    for lookalike in lookalikes
}
_TO_LATIN = str.maketrans(dict(_LOOKALIKES))
_BLANKS = frozenset("\u115f\u1160\u2800\u3164\uffa0")
_NEWLINES = frozenset("\u0085\u2028\u2029")
_QUOTES = {"‘": "'", "’": "'", "‚": "'", "‛": "'", "“": '"', "”": '"', "„": '"', "«": '"', "»": '"'}
_MINUS_SIGN = "\u2212"
_VARIATION_SELECTORS = (range(0xFE00, 0xFE10), range(0xE0100, 0xE01F0))
_TAGS = range(0xE0020, 0xE007F)
_TAG = re.compile("[\U000e0020-\U000e007e]")


@dataclass(frozen=True, slots=True)
class Copy:
    """A copy of a text; `origin[i]` is the index in the original of the copy's letter i."""

    text: str
    origin: Sequence[int]

    def span(self, start: int, end: int) -> tuple[int, int]:
        """Translate a non-empty span of the copy into one of the original."""
        first, last = self.origin[start], self.origin[end - 1]
        return min(first, last), max(first, last) + 1


def plain(text: str) -> Copy:
    """Copy a text with compatibility forms, digits and dashes made ASCII and invisible letters dropped."""
    if text.isascii():
        return Copy(text, range(len(text)))
    return _replaced(text, {letter: _plain_letter(letter) for letter in set(text)})


def bare(text: str) -> Copy:
    """Copy a text like `plain`, in lower case, without accents, with smuggled tag letters made visible."""
    if text.isascii():
        return Copy(text.lower(), range(len(text)))
    return _replaced(text, {letter: _bare_letter(letter) for letter in set(text)})


def backwards(copy: Copy) -> Copy:
    """Read a copy from its end."""
    return Copy(copy.text[::-1], copy.origin[::-1])


def latin(word: str) -> str:
    """Replace letters of other scripts that look like Latin ones (a part of Unicode TR 39)."""
    return word.translate(_TO_LATIN)


def smuggled(text: str) -> int:
    """Count the invisible tag letters (U+E0020..E007E) that spell text no reader can see."""
    return 0 if text.isascii() else len(_TAG.findall(text))


def without_accents(text: str) -> str:
    """Strip combining marks; patterns are put through this too, so that they meet texts on equal terms."""
    return "".join(_without_accent(letter) for letter in text)


def _replaced(text: str, table: Mapping[str, str]) -> Copy:
    pieces = list(map(table.__getitem__, text))
    places = range(len(text))
    longest, shortest = (bound(map(len, table.values())) for bound in (max, min))
    if longest > 1:
        return Copy("".join(pieces), [place for place in places for _ in pieces[place]])
    return Copy("".join(pieces), places if shortest else list(compress(places, pieces)))


def _plain_letter(letter: str) -> str:
    if letter.isascii():
        return letter
    if letter in _QUOTES:
        return _QUOTES[letter]
    if letter in _BLANKS or letter in _NEWLINES:
        return " " if letter in _BLANKS else "\n"
    category = unicodedata.category(letter)
    if category == "Cf" or letter == "\u034f" or any(ord(letter) in block for block in _VARIATION_SELECTORS):
        return ""
    if category == "Pd" or letter == _MINUS_SIGN:
        return "-"
    digit = unicodedata.decimal(letter, None)
    return str(digit) if digit is not None else unicodedata.normalize("NFKC", letter)


def _bare_letter(letter: str) -> str:
    if ord(letter) in _TAGS:
        return chr(ord(letter) - 0xE0000).lower()
    return "".join(_without_accent(part) for part in _plain_letter(letter).casefold())


def _without_accent(letter: str) -> str:
    if letter.isascii():
        return letter
    parts = unicodedata.normalize("NFD", letter)
    kept = "".join(part for part in parts if unicodedata.category(part)[0] != "M")
    return letter if kept == parts else kept
