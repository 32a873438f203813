"""Owns what is told about a task: its numbered events, and the trace of its decisions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from orchestrator import record, sql

_SQL = sql.load(__file__)


@dataclass(frozen=True)
class Event:
    """A numbered fact of a task's life; `seq` starts at 1 and has no gaps."""

    seq: int
    occurred_at: datetime
    type: str
    payload: dict[str, Any]


@dataclass(frozen=True)
class Decision:
    """One entry of a task's trace."""

    id: int
    round: int
    decided_at: datetime
    kind: str
    payload: dict[str, Any]


def append(conn: Connection, task_id: str, facts: Sequence[tuple[str, Mapping[str, Any]]]) -> None:
    """Append (type, payload) pairs to the task's events, in the transaction that made them true.

    Locks the task's row until the transaction ends.
    """
    if not facts:
        return
    events = [{"type": kind, "payload": payload} for kind, payload in facts]
    conn.exec_driver_sql(
        _SQL["append"], {"task_id": task_id, "count": len(events), "events": record.encode(events)}
    )


def read(conn: Connection, task_id: str, *, after: int = 0, limit: int = 1000) -> list[Event]:
    """Return the task's events with seq above `after`, oldest first."""
    rows = conn.exec_driver_sql(_SQL["read"], {"task_id": task_id, "after": after, "limit": limit})
    return [Event(*row) for row in rows]


def decide(conn: Connection, task_id: str, *, round_number: int, **decisions: Mapping[str, Any]) -> None:
    """Record decisions, each under its kind, in the task's trace."""
    taken = [{"kind": kind, "payload": payload} for kind, payload in decisions.items()]
    values = {"task_id": task_id, "round": round_number, "decisions": record.encode(taken)}
    conn.exec_driver_sql(_SQL["decide"], values)


def trace(conn: Connection, task_id: str, *, after: int = 0, limit: int = 1000) -> list[Decision]:
    """Return the task's decisions with id above `after`, oldest first."""
    rows = conn.exec_driver_sql(_SQL["trace"], {"task_id": task_id, "after": after, "limit": limit})
    return [Decision(*row) for row in rows]
