"""Reads all that is stored about one row of a step: its result, events, decisions and items."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from orchestrator.chord import sql
from orchestrator.memory.events import Event, TraceEntry

_SQL = sql.load(__file__)


@dataclass(frozen=True)
class StepRow:
    """A row of steps; `origin_task`, `origin_name` and `origin_round` are of the row whose result it reuses.

    `rounds` are all rounds in which the step has a row.
    """

    id: str
    kind: str
    name: str
    round: int
    arm: str
    state: str
    attempt: int
    failures: int
    kills: int
    owner: str | None
    spec: dict[str, Any]
    bindings: dict[str, str | None]
    result: dict[str, Any] | None
    queued_at: datetime | None
    started_at: datetime | None
    finished_at: datetime | None
    not_before: datetime
    origin_task: str | None
    origin_name: str | None
    origin_round: int | None
    rounds: list[int]


@dataclass(frozen=True)
class ItemRow:
    """An item of a step with for_each, without its output; `place` is its index."""

    name: str
    place: int
    item: Any
    state: str
    attempt: int
    summary: str | None
    error: dict[str, Any] | None
    reused_from: str | None
    started_at: datetime | None
    finished_at: datetime | None


@dataclass(frozen=True)
class SourceRow:
    """A row whose output another step's inputs name."""

    id: str
    task_id: str
    name: str
    round: int
    result: dict[str, Any] | None


def find(conn: Connection, task_id: str, name: str, *, round_number: int | None = None) -> StepRow | None:
    """Return the task's row of this name in a round, or the latest one before it; None if there is none."""
    row = conn.exec_driver_sql(
        _SQL["find"], {"task_id": task_id, "name": name, "round": round_number}
    ).one_or_none()
    return StepRow(*row) if row else None


def events_of(conn: Connection, task_id: str, row_id: str, *, limit: int) -> list[Event]:
    """Return the row's first events."""
    rows = conn.exec_driver_sql(_SQL["events"], {"task_id": task_id, "id": row_id, "limit": limit})
    return [Event(*row) for row in rows]


def decisions_of(
    conn: Connection, task_id: str, row: StepRow, *, kinds: Sequence[str], limit: int
) -> list[TraceEntry]:
    """Return the first decisions about a row; `kinds` are those that belong to its whole round."""
    values = {
        "task_id": task_id,
        "id": row.id,
        "step": row.spec.get("id", row.name),
        "round": row.round,
        "kinds": list(kinds),
        "limit": limit,
    }
    return [TraceEntry(*entry) for entry in conn.exec_driver_sql(_SQL["decisions"], values)]


def items_of(
    conn: Connection, task_id: str, parent: str, *, round_number: int, after: int, limit: int
) -> list[ItemRow]:
    """Return the items of a step with an index above `after`, in order."""
    values = {"task_id": task_id, "round": round_number, "parent": parent, "after": after, "limit": limit}
    return [ItemRow(*row) for row in conn.exec_driver_sql(_SQL["items"], values)]


def count_items(conn: Connection, task_id: str, parent: str, *, round_number: int) -> dict[str, int]:
    """Return how many items of a step are in which state."""
    values = {"task_id": task_id, "round": round_number, "parent": parent}
    return {row.state: row.items for row in conn.exec_driver_sql(_SQL["count_items"], values)}


def sources(conn: Connection, ids: Sequence[str]) -> list[SourceRow]:
    """Return these rows with their results."""
    return [SourceRow(*row) for row in conn.exec_driver_sql(_SQL["outputs"], {"ids": list(ids)})]


def beginning(conn: Connection, tenant: str, sha256: str, *, size: int) -> bytes | None:
    """Return the first bytes of a tenant's file, at most `size` and those of one chunk; None if it is not there."""
    values = {"tenant": tenant, "sha256": sha256, "size": size}
    found = conn.exec_driver_sql(_SQL["beginning"], values).scalar_one_or_none()
    return None if found is None else bytes(found)
