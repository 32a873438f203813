"""Entries: what one transaction moves between accounts."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from sample_ledger.money import Money


class UnbalancedEntryError(ValueError):
    """The lines of an entry do not add up to zero, or name an account twice."""


@dataclass(frozen=True)
class Line:
    """One account's share of an entry."""

    account: str
    amount: Money


@dataclass(frozen=True)
class Entry:
    """Lines that add up to zero."""

    lines: tuple[Line, ...]
    memo: str = ""

    def __post_init__(self) -> None:
        accounts = [line.account for line in self.lines]
        if len(set(accounts)) < len(accounts):
            raise UnbalancedEntryError("an account may be named once")
        if len(self.lines) < 2 or sum(line.amount.cents for line in self.lines) != 0:
            raise UnbalancedEntryError("the lines must add up to zero")

    @classmethod
    def transfer(cls, amount: Money, *, source: str, target: str, memo: str = "") -> Self:
        """Move `amount` from one account to another."""
        return cls((Line(source, -amount), Line(target, amount)), memo)

    @classmethod
    def share(cls, amount: Money, *, payer: str, accounts: Sequence[str], memo: str = "") -> Self:
        """Let `payer` pay for `accounts`, each as evenly as cents allow."""
        parts = zip(accounts, amount.split(len(accounts)), strict=True)
        return cls((Line(payer, -amount), *(Line(account, part) for account, part in parts)), memo)

    def reversed(self) -> "Entry":
        """Return the entry that undoes this one."""
        return Entry(tuple(Line(line.account, -line.amount) for line in self.lines), f"reversal: {self.memo}")
