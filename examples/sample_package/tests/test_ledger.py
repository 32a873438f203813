"""A ledger always balances."""

import pytest

from sample_ledger import Entry, Ledger, Line, Money, UnbalancedEntryError, UnknownEntryError


def test_a_transfer_moves_money_from_one_account_to_the_other() -> None:
    ledger = Ledger()

    ledger.post(Entry.transfer(Money(1250), source="cash", target="books"))

    assert ledger.balances() == {"books": Money(1250), "cash": Money(-1250)}


def test_all_accounts_together_hold_nothing() -> None:
    ledger = Ledger()
    ledger.post(Entry.transfer(Money(999), source="cash", target="rent"))
    ledger.post(Entry.share(Money(1000), payer="ann", accounts=["bob", "cy", "dee"]))

    assert sum(balance.cents for balance in ledger.balances().values()) == 0


def test_a_reversal_undoes_an_entry_and_keeps_both() -> None:
    ledger = Ledger()
    number = ledger.post(Entry.transfer(Money(5), source="cash", target="tea"))

    ledger.reverse(number)

    assert ledger.balance("tea") == Money(0)
    assert len(ledger) == 2


def test_an_entry_that_does_not_balance_is_refused() -> None:
    with pytest.raises(UnbalancedEntryError):
        Entry((Line("cash", Money(-5)), Line("tea", Money(6))))


def test_an_account_is_named_once_in_an_entry() -> None:
    with pytest.raises(UnbalancedEntryError):
        Entry.transfer(Money(5), source="cash", target="cash")


def test_an_unknown_entry_can_not_be_reversed() -> None:
    with pytest.raises(UnknownEntryError):
        Ledger().reverse(1)


def test_an_account_that_was_never_named_holds_nothing() -> None:
    assert Ledger().balance("nobody") == Money(0)


def test_entries_are_kept_in_the_order_of_posting() -> None:
    ledger = Ledger()
    first = Entry.transfer(Money(1), source="a", target="b", memo="first")
    second = Entry.transfer(Money(2), source="a", target="b", memo="second")

    ledger.post(first)
    ledger.post(second)

    assert list(ledger) == [first, second]
