"""Reads and writes a task's numbered events and the trace of its decisions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from orchestrator.chord import sql
from orchestrator.chord.sql import Prepared
from orchestrator.models import record

_SQL = sql.load(__file__)
_WRITE = Prepared(
    "octollm_write_events",
    _SQL["write"],
    {
        "task_id": "text",
        "round": "int",
        "count": "int",
        "events": "text",
        "decisions": "text",
        "progress": "bool",
    },
)

Fact = tuple[str, Mapping[str, Any]] | tuple[str, Mapping[str, Any], datetime]
"""The type of an event, its payload, and when it occurred if that was not just now."""


@dataclass(frozen=True)
class Event:
    """An event of a task; `seq` starts at 1 and has no gaps."""

    seq: int
    occurred_at: datetime
    type: str
    payload: dict[str, Any]


@dataclass(frozen=True)
class TraceEntry:
    """One decision in a task's trace."""

    id: int
    round: int
    decided_at: datetime
    kind: str
    payload: dict[str, Any]


def write(
    conn: Connection,
    task_id: str,
    facts: Sequence[Fact],
    *,
    round_number: int,
    decisions: Mapping[str, Mapping[str, Any]] | None = None,
    progress: bool = False,
) -> None:
    """Append facts to the task's events and {kind: payload} to its trace.

    Call it in the transaction that makes them true. Locks the task's row until the transaction ends. With `progress`
    the task's percentage rises to what the round has finished.
    """
    values = {
        "task_id": task_id,
        "round": round_number,
        "count": len(facts),
        "events": as_events(facts),
        "decisions": as_decisions(decisions or {}),
        "progress": progress,
    }
    _WRITE.execute(conn, values)


def as_events(facts: Sequence[Fact]) -> str:
    """Encode facts as a statement's `events` parameter."""
    return record.encode([dict(zip(("type", "payload", "at"), fact, strict=False)) for fact in facts])


def as_decisions(decisions: Mapping[str, Mapping[str, Any]]) -> str:
    """Encode decisions as a statement's `decisions` parameter."""
    return record.encode([{"kind": kind, "payload": payload} for kind, payload in decisions.items()])


def read(conn: Connection, task_id: str, *, after: int = 0, limit: int = 1000) -> list[Event]:
    """Return the task's events with seq above `after`, oldest first."""
    rows = conn.exec_driver_sql(_SQL["read"], {"task_id": task_id, "after": after, "limit": limit})
    return [Event(*row) for row in rows]


def read_after(conn: Connection, cursors: Mapping[str, int], *, limit: int) -> list[tuple[str, Event]]:
    """Return (task id, event) for the events of each task after its number in `cursors`; by task, oldest first."""
    values = {"ids": list(cursors), "afters": list(cursors.values()), "limit": limit}
    rows = conn.exec_driver_sql(_SQL["read_after"], values)
    return [(task_id, Event(*event)) for task_id, *event in rows]


def last_numbers(conn: Connection, task_ids: Sequence[str]) -> dict[str, int]:
    """Return the number of each task's last event; deleted tasks are left out."""
    rows = conn.exec_driver_sql(_SQL["last_numbers"], {"ids": list(task_ids)})
    return {row.id: row.event_seq for row in rows}


def trace(conn: Connection, task_id: str, *, after: int = 0, limit: int = 1000) -> list[TraceEntry]:
    """Return the task's trace entries with an id above `after`, oldest first."""
    rows = conn.exec_driver_sql(_SQL["trace"], {"task_id": task_id, "after": after, "limit": limit})
    return [TraceEntry(*row) for row in rows]
