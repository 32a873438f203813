"""Prints a price list as a table."""

from price_list.table import as_table, total

__all__ = ["as_table", "total"]
