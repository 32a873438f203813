"""Number words and digits written one way."""

import re
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal

from orchestrator.similarity.token import Kind, Token
from orchestrator.similarity.words import table, words

_UNITS: Mapping[str, int] = table("number", "units")
_TENS: Mapping[str, int] = table("number", "tens")
_SCALES: Mapping[str, int] = table("number", "scales")
_ORDINALS: Mapping[str, str] = table("number", "ordinals")
_ONE_KEPT_AFTER = words("number", "one_kept_after")
_LISTED_AFTER = words("number", "listed_after")
_CASE_COUNTS = words("number", "case_counts")
_PERCENT = words("number", "percent")
_NO_SCALE = 10**15
_THOUSANDS = re.compile(r"[-+]?[0-9]{1,3}(?:,[0-9]{3})+(?:\.[0-9]+)?")
_SHORT = re.compile(r"[0-9]{1,6}(?:\.[0-9]{1,6})?")


def with_digits(tokens: Sequence[Token], *, case_speaks: bool) -> list[Token]:
    """Write numbers in digits: "twenty-one" 21, "2.5 million" 2500000, "1,000" 1000, "first" 1st."""
    return list(_units_read(list(_digits(tokens)), case_speaks=case_speaks))


def _digits(tokens: Sequence[Token]) -> Iterator[Token]:
    place = 0
    before = ""
    while place < len(tokens):
        token = tokens[place]
        length, value = _Speech(tokens, place).number(before)
        if length:
            yield token._replace(kind=Kind.NUMBER, text=value)
        else:
            yield from _written(token, before)
        place += length or 1
        before = tokens[place - 1].text


def _written(token: Token, before: str) -> Iterator[Token]:
    if token.kind is Kind.WORD:
        yield token._replace(text=_ORDINALS.get(token.text, token.text))
    elif token.kind is not Kind.NUMBER or "," not in token.text:
        yield token
    elif _THOUSANDS.fullmatch(token.text) and before not in _LISTED_AFTER:
        yield token._replace(text=token.text.replace(",", ""))
    elif token.text.count(",") > 1 or before in _LISTED_AFTER:
        yield from (token._replace(text=part) for part in token.text.split(","))
    else:
        yield token


class _Speech:
    """The number that is spoken from a place on, if one is."""

    def __init__(self, tokens: Sequence[Token], place: int) -> None:
        self._tokens, self._start = tokens, place

    def number(self, before: str) -> tuple[int, str]:
        """Return how many tokens it takes, 0 if there is none, and its digits."""
        if self._word(0) == "one" and before in _ONE_KEPT_AFTER:
            return 0, ""
        at, total, ceiling = 0, Decimal(0), _NO_SCALE
        while step := self._group(at):
            length, amount = step
            scale = _SCALES.get(self._word(at + length), 1)
            if scale >= ceiling:
                break
            total, at, ceiling = total + amount * scale, at + length + (scale > 1), scale
            if scale > 1 and self._word(at) == "and" and self._tens(at + 1):
                at += 1
        return at, f"{total.normalize():f}"

    def _group(self, at: int) -> tuple[int, Decimal] | None:
        """Read what may stand before a scale: below a thousand, digits, or nothing for one."""
        word = self._word(at)
        if word in _SCALES:
            return None if at else (0, Decimal(1))
        if _SHORT.fullmatch(word):
            return (1, Decimal(word)) if self._word(at + 1) in _SCALES else None
        tens = self._tens(at)
        length, amount = tens or (0, 0)
        if self._word(at + length) != "hundred":
            return (length, Decimal(amount)) if tens else None
        amount, length = (amount or 1) * 100, length + 1
        joint = int(self._word(at + length) == "and")
        more, rest = self._tens(at + length + joint) or (-joint, 0)
        return length + joint + more, Decimal(amount + rest)

    def _tens(self, at: int) -> tuple[int, int] | None:
        word = self._word(at)
        if word in _UNITS:
            return 1, _UNITS[word]
        if word not in _TENS:
            return None
        unit = _UNITS.get(self._word(at + 1), 0)
        return (2, _TENS[word] + unit) if 0 < unit < 10 else (1, _TENS[word])

    def _word(self, at: int) -> str:
        place = self._start + at
        if place >= len(self._tokens) or (at and self._tokens[place].pause):
            return ""
        token = self._tokens[place]
        return token.text if token.kind in (Kind.WORD, Kind.NUMBER) else ""


def _units_read(tokens: Sequence[Token], *, case_speaks: bool) -> Iterator[Token]:
    for place, token in enumerate(tokens):
        follows_number = place > 0 and tokens[place - 1].kind is Kind.NUMBER
        if not follows_number or token.kind is not Kind.WORD:
            yield token
        elif token.text in _PERCENT:
            yield token._replace(kind=Kind.SYMBOL, text="%")
        elif token.text in ("a.m", "p.m"):
            yield token._replace(text=token.text.replace(".", ""))
        elif case_speaks and token.written in _CASE_COUNTS:
            yield token._replace(text=token.written)
        else:
            yield token
