"""Keeps the budget ledger: reserves what a model call may cost before it, and charges its real cost after it."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Final, TypeVar

from sqlalchemy import Connection

from orchestrator.chord import sql
from orchestrator.models.errors import BudgetExceeded, BudgetTaken, PriceUnknown, Stopped

N = TypeVar("N", int, Decimal)

_SQL = sql.load(__file__)
_WAIT_SECONDS = 1.0
"""How soon a step retries when other calls reserve the rest of the budget; calls last seconds."""


@dataclass(frozen=True)
class BudgetTotals:
    """A task's budget, what it has spent, and what its open calls reserve (`held`)."""

    max_tokens: int
    max_cost: Decimal
    is_cost_explicit: bool
    spent_tokens: int
    spent_cost: Decimal
    held_tokens: int
    held_cost: Decimal


class Room(StrEnum):
    """When the budget has room for a call: now, after other calls end, or never."""

    NOW = "now"
    LATER = "later"
    NEVER = "never"


@dataclass(frozen=True)
class Balance:
    """A task's totals before and after a call was settled; a cost is None if part of it is unknown."""

    tokens_before: int
    tokens_after: int
    cost_before: Decimal | None
    cost_after: Decimal | None
    max_tokens: int
    max_cost: Decimal


@dataclass(frozen=True)
class Spent:
    """What calls used; None where it is not known."""

    tokens: int | None = 0
    dollars: Decimal | None = Decimal(0)

    def __add__(self, other: "Spent") -> "Spent":
        """Return the sum, which is not known where a part of it is not."""
        return Spent(_sum(self.tokens, other.tokens), _sum(self.dollars, other.dollars))


UNKNOWN: Final = Spent(None, None)


@dataclass(frozen=True)
class Reservation:
    """The key of a call in the ledger: calls of an attempt are numbered 1, 2, ..."""

    task_id: str
    step_id: str
    attempt: int
    call: int


@dataclass(frozen=True)
class LedgerEntry:
    """A call in the ledger; it is open while `settled_at` is None.

    `purpose` (the prompt) and `model` (provider:model) are None until the trace has the call.
    """

    step_id: str
    step: str
    round: int
    attempt: int
    call: int
    reserved_tokens: int
    reserved_cost: Decimal | None
    spent_tokens: int | None
    spent_cost: Decimal | None
    reserved_at: datetime
    settled_at: datetime | None
    purpose: str | None
    model: str | None


@dataclass(frozen=True)
class LedgerTotals:
    """What a task's calls were charged, and what its open calls reserve; a cost is None if a part of it is unknown."""

    settled_tokens: int
    settled_cost: Decimal | None
    reserved_tokens: int
    reserved_cost: Decimal | None


Size = tuple[int, Decimal | None]
"""What a call may use: tokens and US dollars, None if the price is unknown."""


def reserve(
    conn: Connection, task_id: str, *, step_id: str, attempt: int, sizes: Sequence[Size]
) -> tuple[int, int]:
    """Reserve the first size that fits; return the call's number within the attempt (1, 2, ...) and the size's index.

    The sizes become smaller. Locks the task's row until the transaction ends. Raises BudgetExceeded if the last one can
    never fit, BudgetTaken if one fits after other calls; PriceUnknown; Stopped if the attempt is not the current one.
    """
    claim = {"step_id": step_id, "attempt": attempt}
    budget = conn.exec_driver_sql(_SQL["lock_budget"], claim).mappings().one_or_none()
    if budget is None:
        raise Stopped()
    conn.exec_driver_sql(_SQL["charge_abandoned"], {"task_id": task_id})
    sums = conn.exec_driver_sql(_SQL["account"], {"task_id": task_id, **claim}).mappings().one()
    call: int = sums["next_call"]
    account = BudgetTotals(**budget, **{name: value for name, value in sums.items() if name != "next_call"})
    chosen = _first_fitting(account, sizes)
    tokens, cost = sizes[chosen]
    values = {"task_id": task_id, **claim, "call": call, "tokens": tokens, "cost": cost}
    conn.exec_driver_sql(_SQL["reserve"], values)
    return call, chosen


def settle(
    conn: Connection,
    reservation: Reservation,
    *,
    tokens: int | None,
    cost: Decimal | None,
    is_reported: bool = True,
) -> Balance | None:
    """Charge what a call used, or the whole reservation when `tokens` is None; None when it was charged before.

    Estimated figures (not `is_reported`) are charged up to what is reserved. Reported figures also replace the charge
    of a whole reservation: the call outlived its attempt or its task. Locks the task's row until the transaction ends.
    """
    values = {**asdict(reservation), "tokens": tokens, "cost": cost, "is_reported": is_reported}
    row = conn.exec_driver_sql(_SQL["settle"], values).one_or_none()
    return Balance(*row) if row else None


def charge_open(conn: Connection, task_id: str) -> None:
    """Charge a task's open reservations in full, at its end; the caller holds the task's lock."""
    conn.exec_driver_sql(_SQL["charge_open"], {"task_id": task_id})


def used(conn: Connection, task_id: str) -> tuple[int, Decimal]:
    """Return the tokens and dollars that a task has spent or its open calls reserve; unknown costs count nothing."""
    tokens, dollars = conn.exec_driver_sql(_SQL["used"], {"task_id": task_id}).one()
    return tokens, dollars


def entries(conn: Connection, task_id: str, *, after: int = 0, limit: int = 1000) -> list[LedgerEntry]:
    """Return the task's calls in the order of reservation: at most `limit` after the first `after`."""
    values = {"task_id": task_id, "after": after, "limit": limit}
    return [LedgerEntry(*row) for row in conn.exec_driver_sql(_SQL["entries"], values)]


def totals(conn: Connection, task_id: str) -> LedgerTotals:
    """Return the sums of all of the task's calls."""
    return LedgerTotals(*conn.exec_driver_sql(_SQL["totals"], {"task_id": task_id}).one())


def spent_by_row(conn: Connection, ids: Sequence[str]) -> dict[str, Spent]:
    """Return what the settled calls of rows of steps used, by the row's id; nothing of a row without calls."""
    rows = conn.exec_driver_sql(_SQL["spent_by_row"], {"ids": list(ids)})
    return {row.step_id: Spent(row.tokens, row.cost) for row in rows}


def room_for(asked: Decimal, *, spent: Decimal, held: Decimal, limit: Decimal) -> Room:
    """Return when a call fits; NEVER if it would not fit even if every open call cost nothing."""
    if spent + asked > limit:
        return Room.NEVER
    return Room.LATER if spent + held + asked > limit else Room.NOW


def _sum(one: N | None, other: N | None) -> N | None:
    return None if one is None or other is None else one + other


def _first_fitting(account: BudgetTotals, sizes: Sequence[Size]) -> int:
    """Return the index of the first size with room now; if there is none, raise why the smallest does not fit."""
    for index, size in enumerate(sizes[:-1]):
        try:
            _require_room(account, size)
        except (BudgetExceeded, BudgetTaken):
            continue
        return index
    _require_room(account, sizes[-1])
    return len(sizes) - 1


def _require_room(account: BudgetTotals, size: Size) -> None:
    tokens, cost = size
    if cost is None and account.is_cost_explicit:
        raise PriceUnknown(
            "The model's price is not known, so max_cost_dollars can't be enforced: set LLM_PRICES, or leave it out."
        )
    of_tokens = (Decimal(tokens), Decimal(account.spent_tokens), Decimal(account.held_tokens))
    of_dollars = (cost or Decimal(0), account.spent_cost, account.held_cost)
    for budget, (asked, spent, held), limit in (
        ("max_tokens", of_tokens, Decimal(account.max_tokens)),
        ("max_cost_dollars", of_dollars, account.max_cost),
    ):
        room = room_for(asked, spent=spent, held=held, limit=limit)
        figures = {"budget": budget, "limit": str(limit), "spent": str(spent), "asked": str(asked)}
        if room is Room.NEVER:
            raise BudgetExceeded(
                f"{budget} is {limit}; {spent} is spent, and the next call may cost {asked}.",
                details=figures,
            )
        if room is Room.LATER:
            raise BudgetTaken(
                f"Other calls of the task reserve {held} of {budget} until they end.",
                details={**figures, "held": str(held), "retry_after": _WAIT_SECONDS},
            )
