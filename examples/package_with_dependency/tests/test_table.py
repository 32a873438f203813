"""The table and the sum of a price list."""

from price_list import as_table, total

PRICES = {"pear": 1250, "apple": 99}


def test_the_table_is_sorted_by_name():
    assert as_table(PRICES).splitlines()[2:] == ["apple      0.99", "pear      12.50"]


def test_the_sum_is_in_cents():
    assert total(PRICES) == 1349
