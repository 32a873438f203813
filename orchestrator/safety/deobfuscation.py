"""Undoes obfuscation: normalized copies of a text whose characters map back to the original."""

import re
import tomllib
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import compress
from pathlib import Path

_CONFUSABLES: Mapping[str, str] = {
    confusable: letter
    for letter, confusables in tomllib.loads(
        Path(__file__).with_name("confusables.toml").read_text("utf-8")
    ).items()
    for confusable in confusables
}
_TO_LATIN = str.maketrans(dict(_CONFUSABLES))
_BLANKS = frozenset("\u115f\u1160\u2800\u3164\uffa0")
_NEWLINES = frozenset("\u0085\u2028\u2029")
_QUOTES = {"‘": "'", "’": "'", "‚": "'", "‛": "'", "“": '"', "”": '"', "„": '"', "«": '"', "»": '"'}
_MINUS_SIGN = "\u2212"
_VARIATION_SELECTORS = (range(0xFE00, 0xFE10), range(0xE0100, 0xE01F0))
_TAGS = range(0xE0020, 0xE007F)
_TAG = re.compile("[\U000e0020-\U000e007e]")


@dataclass(frozen=True, slots=True)
class MappedText:
    """A normalized copy of a text; `origin[i]` is the index in the original of its character i."""

    text: str
    origin: Sequence[int]

    def span(self, start: int, end: int) -> tuple[int, int]:
        """Map a non-empty span of the copy to the original."""
        first, last = self.origin[start], self.origin[end - 1]
        return min(first, last), max(first, last) + 1


def normalize(text: str) -> MappedText:
    """Return a copy with ASCII digits, dashes and quotes, compatibility forms (NFKC), and no invisible characters."""
    if text.isascii():
        return MappedText(text, range(len(text)))
    return _replaced(text, {letter: _normalized_letter(letter) for letter in set(text)})


def normalize_for_words(text: str) -> MappedText:
    """Return a copy like `normalize`, but in lower case, without accents, and with invisible tag letters as ASCII."""
    if text.isascii():
        return MappedText(text.lower(), range(len(text)))
    return _replaced(text, {letter: _word_letter(letter) for letter in set(text)})


def reversed_text(mapped: MappedText) -> MappedText:
    """Return the copy in reverse order."""
    return MappedText(mapped.text[::-1], mapped.origin[::-1])


def to_latin(word: str) -> str:
    """Replace confusable letters of other scripts by Latin ones (a part of Unicode TR 39)."""
    return word.translate(_TO_LATIN)


def count_tag_letters(text: str) -> int:
    """Count the invisible tag letters (U+E0020..E007E), which can spell hidden text."""
    return 0 if text.isascii() else len(_TAG.findall(text))


def strip_accents(text: str) -> str:
    """Remove combining marks. Patterns are stripped too, so that they match stripped texts."""
    return "".join(_strip_accents_of(letter) for letter in text)


def _replaced(text: str, table: Mapping[str, str]) -> MappedText:
    pieces = list(map(table.__getitem__, text))
    indices = range(len(text))
    longest, shortest = (bound(map(len, table.values())) for bound in (max, min))
    if longest > 1:
        return MappedText("".join(pieces), [index for index in indices for _ in pieces[index]])
    return MappedText("".join(pieces), indices if shortest else list(compress(indices, pieces)))


def _normalized_letter(letter: str) -> str:
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


def _word_letter(letter: str) -> str:
    if ord(letter) in _TAGS:
        return chr(ord(letter) - 0xE0000).lower()
    return "".join(_strip_accents_of(part) for part in _normalized_letter(letter).casefold())


def _strip_accents_of(letter: str) -> str:
    if letter.isascii():
        return letter
    parts = unicodedata.normalize("NFD", letter)
    kept = "".join(part for part in parts if unicodedata.category(part)[0] != "M")
    return letter if kept == parts else kept
