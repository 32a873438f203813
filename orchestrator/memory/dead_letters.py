"""Reads dead letters: steps that were given up because they killed their workers, and are not retried by themselves."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from orchestrator.chord import sql

_SQL = sql.load(__file__)


@dataclass(frozen=True)
class DeadLetter:
    """A step that was given up after `kills` deaths; `retried_by` is the latest task that retries its task."""

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
    """Return the tenant's dead letters, newest first, starting after the row id `before`."""
    values = {"tenant": tenant, "limit": limit, "before": before}
    return [DeadLetter(*row) for row in conn.exec_driver_sql(_SQL["list"], values)]
