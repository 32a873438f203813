"""Normalizes numerals: number words, thousands separators, ordinals and units after a number."""

import re
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal

from orchestrator.similarity.lexicon import table, words
from orchestrator.similarity.tokens import Kind, Token

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


def write_digits(tokens: Sequence[Token], *, case_is_significant: bool) -> list[Token]:
    """Write numbers in digits: "twenty-one" as 21, "2.5 million" as 2500000, "1,000" as 1000, "first" as 1st."""
    return list(_normalize_units(list(_digits(tokens)), case_is_significant=case_is_significant))


def _digits(tokens: Sequence[Token]) -> Iterator[Token]:
    index = 0
    before = ""
    while index < len(tokens):
        token = tokens[index]
        length, value = _NumberReader(tokens, index).number(before)
        if length:
            yield token._replace(kind=Kind.NUMBER, text=value)
        else:
            yield from _written(token, before)
        index += length or 1
        before = tokens[index - 1].text


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


class _NumberReader:
    """Reads the number, in words or digits, that starts at one token."""

    def __init__(self, tokens: Sequence[Token], index: int) -> None:
        self._tokens, self._start = tokens, index

    def number(self, before: str) -> tuple[int, str]:
        """Return the number of tokens read, 0 if no number starts here, and the digits."""
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
        """Read what may precede a scale: a number below a thousand, digits, or nothing (for one)."""
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
        index = self._start + at
        if index >= len(self._tokens) or (at and self._tokens[index].after_break):
            return ""
        token = self._tokens[index]
        return token.text if token.kind in (Kind.WORD, Kind.NUMBER) else ""


def _normalize_units(tokens: Sequence[Token], *, case_is_significant: bool) -> Iterator[Token]:
    for index, token in enumerate(tokens):
        follows_number = index > 0 and tokens[index - 1].kind is Kind.NUMBER
        if not follows_number or token.kind is not Kind.WORD:
            yield token
        elif token.text in _PERCENT:
            yield token._replace(kind=Kind.SYMBOL, text="%")
        elif token.text in ("a.m", "p.m"):
            yield token._replace(text=token.text.replace(".", ""))
        elif case_is_significant and token.surface in _CASE_COUNTS:
            yield token._replace(text=token.surface)
        else:
            yield token
