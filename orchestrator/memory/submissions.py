"""Reads the names (idempotency keys) of submissions; memory.tasks.submit writes them with the task."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection

from orchestrator.chord import sql

_SQL = sql.load(__file__)


@dataclass(frozen=True)
class EarlierSubmission:
    """The task made by the first submission of a name; `redacted` is copied from its contract."""

    sha256: str
    task_id: str
    created_at: datetime
    redacted: dict[str, int]


def find(conn: Connection, tenant: str, name: str) -> EarlierSubmission | None:
    """Return the task of the tenant's earlier submission of this name; None if there is none or it has expired."""
    row = conn.exec_driver_sql(_SQL["find"], {"tenant": tenant, "name": name}).one_or_none()
    return EarlierSubmission(*row) if row else None


def expire(conn: Connection, tenant: str, name: str) -> None:
    """Make a name free for another submission; calling twice is safe."""
    conn.exec_driver_sql(_SQL["expire"], {"tenant": tenant, "name": name})


def forget_expired(conn: Connection, *, limit: int) -> int:
    """Delete at most `limit` expired names, oldest first; return how many."""
    return conn.exec_driver_sql(_SQL["forget_expired"], {"limit": limit}).rowcount
