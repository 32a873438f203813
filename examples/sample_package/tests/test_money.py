"""Money is exact."""

import pytest

from sample_ledger import Money, MoneyFormatError


@pytest.mark.parametrize(("text", "cents"), [("12", 1200), ("12.50", 1250), ("-0.05", -5), (" 7 ", 700)])
def test_amounts_are_read(text: str, cents: int) -> None:
    assert Money.parse(text) == Money(cents)


@pytest.mark.parametrize("text", ["", "1.5", "1,50", "one", "--1", "1.234"])
def test_what_is_no_amount_is_refused(text: str) -> None:
    with pytest.raises(MoneyFormatError):
        Money.parse(text)


@pytest.mark.parametrize("cents", [0, 5, 1250, -5, -1250])
def test_an_amount_is_read_back_as_it_was_written(cents: int) -> None:
    assert Money.parse(str(Money(cents))) == Money(cents)


def test_sums_and_differences_are_exact() -> None:
    assert Money(10) + Money(20) - Money(30) == Money(0)


@pytest.mark.parametrize("parts", [1, 3, 7])
def test_a_split_loses_no_cent(parts: int) -> None:
    shares = Money(1000).split(parts)

    assert sum(share.cents for share in shares) == 1000
    assert max(shares).cents - min(shares).cents <= 1


def test_nothing_is_split_into_no_parts() -> None:
    with pytest.raises(ValueError, match="at least one"):
        Money(1).split(0)
