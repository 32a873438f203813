"""Reads what the open rows of a task wait for."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from sqlalchemy import Connection

from orchestrator.chord import sql
from orchestrator.memory.pools import ALIVE_WITHIN_SECONDS

MAX_ROWS = 200
"""So many open rows of a task are read at most."""
_SQL = sql.load(__file__)


@dataclass(frozen=True)
class OpenRow:
    """An open row of `steps` and what it waits for; all rows of a task have the same `open_rows`, `read_at` and budget.

    `not_before` is set while the row may not be claimed yet. `needs` counts the open steps that it waits for, `holders`
    those that hold the slots of its round; of both the first six are named. `workers`, `slots` and `busy` are of the
    live workers of its queue, `withheld` says why some of them take no work, `ahead` counts the rows queued before it.
    `running_everywhere` and `running_here` count the running rows of its tenant, in all queues and in its own;
    `has_others`: other tenants have tasks or keys. `called_at` and `call_tokens` are of its open model calls.
    """

    id: str
    round: int
    kind: str
    name: str
    arm: str
    state: str
    attempt: int
    kills: int
    owner: str | None
    queued_at: datetime | None
    started_at: datetime | None
    due: datetime | None
    has_effect: bool
    not_before: datetime | None
    read_at: datetime
    open_rows: int
    needs: int
    needed_names: Sequence[str]
    holders: int
    holder_names: Sequence[str]
    tried_code: str | None
    tried_message: str | None
    workers: int
    slots: int
    busy: int
    withheld: str | None
    running_everywhere: int
    running_here: int
    has_others: bool
    ahead: int | None
    outage: str | None
    outage_until: datetime | None
    approval_id: str | None
    asks_for: str | None
    ask: str | None
    assignee: str | None
    expires_at: datetime | None
    on_expiry: str | None
    called_at: datetime | None
    call_tokens: int | None
    spent_tokens: int
    spent_cost: Decimal
    held_tokens: int
    held_cost: Decimal


def open_rows(conn: Connection, task_id: str) -> list[OpenRow]:
    """Return the task's open rows, at most MAX_ROWS: waiting, queued, running, held, blocked.

    `conn` must see all tenants: the place in a queue counts everybody's rows.
    """
    values = {"task_id": task_id, "limit": MAX_ROWS, "within_seconds": ALIVE_WITHIN_SECONDS}
    return [OpenRow(**row) for row in conn.exec_driver_sql(_SQL["open_rows"], values).mappings()]
