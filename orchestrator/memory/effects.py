"""Marks steps whose action changes something outside and must not run twice."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection

from orchestrator.chord import sql
from orchestrator.memory.steps import Reclaimed
from orchestrator.models.plan import Offer

_SQL = sql.load(__file__)


@dataclass(frozen=True)
class LostEffect(Reclaimed):
    """A row whose effect has begun and whose outcome nobody knows; it waits for a person."""

    started_at: datetime


def begin(conn: Connection, step_id: str, *, attempt: int, once: bool) -> bool:
    """Mark the attempt's effect as begun if it may run only `once`; False if the attempt has lost its lease.

    Calling it again is safe. One statement, made for autocommit mode.
    """
    values = {"id": step_id, "attempt": attempt, "once": once}
    return conn.exec_driver_sql(_SQL["begin"], values).rowcount == 1


def acted(conn: Connection, task_id: str) -> set[Offer]:
    """Return the actions that must not run twice and took effect in any round of the task, or may have."""
    rows = conn.exec_driver_sql(_SQL["acted"], {"task_id": task_id})
    return {Offer(row.arm, row.action) for row in rows}


def find_begun(conn: Connection, step_id: str) -> str | None:
    """Return the chord of a row that runs with a begun effect; None for any other row. Takes no lock."""
    chord_id: str | None = conn.exec_driver_sql(_SQL["find_begun"], {"id": step_id}).scalar_one_or_none()
    return chord_id


def lose(
    conn: Connection, step_id: str, *, attempt: int | None = None, owner: str | None = None
) -> LostEffect | None:
    """Let a row with a begun effect wait for a person; None if it was decided otherwise.

    With `attempt` that attempt reports it, with `owner` that process is gone; with neither the lease must have expired.
    The caller holds the locks of the chord and the task.
    """
    values = {"id": step_id, "attempt": attempt, "owner": owner}
    row = conn.exec_driver_sql(_SQL["lose"], values).one_or_none()
    return LostEffect(*row) if row else None
