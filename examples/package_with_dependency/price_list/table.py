"""Makes a table of names and prices in whole cents."""

from collections.abc import Mapping

from tabulate import tabulate


def as_table(prices: Mapping[str, int]) -> str:
    """Return one line for each name, sorted, with its price in the currency's unit."""
    rows = [(name, f"{cents / 100:.2f}") for name, cents in sorted(prices.items())]
    return tabulate(rows, headers=("name", "price"), disable_numparse=True, colalign=("left", "right"))


def total(prices: Mapping[str, int]) -> int:
    """Return the sum in cents."""
    return sum(prices.values())
