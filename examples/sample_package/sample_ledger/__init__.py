"""A small double-entry ledger."""

from sample_ledger.entry import Entry, Line, UnbalancedEntryError
from sample_ledger.ledger import Ledger, UnknownEntryError
from sample_ledger.money import Money, MoneyFormatError

__all__ = [
    "Entry",
    "Ledger",
    "Line",
    "Money",
    "MoneyFormatError",
    "UnbalancedEntryError",
    "UnknownEntryError",
]
