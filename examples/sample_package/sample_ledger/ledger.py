"""The ledger: entries in the order they were posted, and what they come to."""

from collections import defaultdict
from collections.abc import Iterator

from sample_ledger.entry import Entry
from sample_ledger.money import Money


class UnknownEntryError(LookupError):
    """There is no entry of that number."""


class Ledger:
    """Keeps entries; nothing is ever removed."""

    def __init__(self) -> None:
        self._entries: list[Entry] = []

    def post(self, entry: Entry) -> int:
        """Add an entry and return its number."""
        self._entries.append(entry)
        return len(self._entries)

    def reverse(self, number: int) -> int:
        """Undo an entry by posting its reversal; return the reversal's number."""
        if not 1 <= number <= len(self._entries):
            raise UnknownEntryError(f"there is no entry {number}")
        return self.post(self._entries[number - 1].reversed())

    def balance(self, account: str) -> Money:
        """Return what the account holds; zero for one that was never named."""
        return self.balances().get(account, Money(0))

    def balances(self) -> dict[str, Money]:
        """Return what every account holds, by name."""
        totals: defaultdict[str, Money] = defaultdict(lambda: Money(0))
        for entry in self._entries:
            for line in entry.lines:
                totals[line.account] += line.amount
        return dict(sorted(totals.items()))

    def __iter__(self) -> Iterator[Entry]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)
