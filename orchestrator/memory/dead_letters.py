"""Reads which work was given up because it killed its workers: nothing will try it again by itself."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from orchestrator.chord import sql

_SQL = sql.load(__file__)


@dataclass(frozen=True)
class DeadLetter:
    """A row of work that was given up after `kills` deaths; `retried_by` is the last task that repeats its task."""

    id: str
    task_id: str
    name: str
    arm: str
    round: int
    kills: int
    error: dict[str, Any]
    finished_at: datetime
    task_status: str
    retried_by: str | None


def list_dead(conn: Connection, tenant: str, *, limit: int, before: str | None = None) -> list[DeadLetter]:
    """Return the tenant's given-up rows, newest first: those after the row id `before`."""
    values = {"tenant": tenant, "limit": limit, "before": before}
    return [DeadLetter(*row) for row in conn.exec_driver_sql(_SQL["list"], values)]
