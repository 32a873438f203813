"""Prices by weight."""

import pytest

from courier import price


def test_a_light_parcel_is_cheaper() -> None:
    assert price(500) < price(5_000)


def test_a_parcel_at_the_limit_costs_the_lower_price() -> None:
    assert price(2_000) == 499


@pytest.mark.parametrize("grams", [-1, 0, 30_001])
def test_a_weight_that_no_parcel_has_is_refused(grams: int) -> None:
    with pytest.raises(ValueError, match="30 kg"):
        price(grams)
