"""Amounts of money in whole cents."""

import re
from dataclasses import dataclass
from typing import Self

_AMOUNT = re.compile(r"(-?)(\d{1,12})(?:\.(\d{2}))?")


class MoneyFormatError(ValueError):
    """A text is no amount like 12 or -0.50."""


@dataclass(frozen=True, order=True)
class Money:
    """An amount; negative amounts are debts."""

    cents: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read an amount written with no decimals or with two."""
        match = _AMOUNT.fullmatch(text.strip())
        if match is None:
            raise MoneyFormatError(f"not an amount: {text!r}")
        sign, units, cents = match.groups()
        total = int(units) * 100 + int(cents or 0)
        return cls(-total if sign else total)

    def __add__(self, other: "Money") -> "Money":
        return Money(self.cents + other.cents)

    def __sub__(self, other: "Money") -> "Money":
        return Money(self.cents - other.cents)

    def __neg__(self) -> "Money":
        return Money(-self.cents)

    def __str__(self) -> str:
        units, cents = divmod(abs(self.cents), 100)
        return f"{'-' if self.cents < 0 else ''}{units}.{cents:02d}"

    def split(self, parts: int) -> list["Money"]:
        """Divide into `parts` that differ by one cent at most and add up to the whole."""
        if parts < 1:
            raise ValueError("split into at least one part")
        share, rest = divmod(self.cents, parts)
        return [Money(share + (1 if index < rest else 0)) for index in range(parts)]
