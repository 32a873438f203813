"""Owns what makes a submission the same as an earlier one; memory.submit writes it with the task."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection

from orchestrator.chord import sql

_SQL = sql.load(__file__)


@dataclass(frozen=True)
class IdempotencyKey:
    """A submission's name, kept for `seconds`; `sha256` is of its body."""

    name: str
    sha256: str
    seconds: int


@dataclass(frozen=True)
class EarlierSubmission:
    """The task that the first submission of a name made; `redacted` as its contract says."""

    sha256: str
    task_id: str
    created_at: datetime
    redacted: dict[str, int]


def find(conn: Connection, tenant: str, name: str) -> EarlierSubmission | None:
    """Return what the tenant's submission of this name made; None when there is none, or it is too long ago."""
    row = conn.exec_driver_sql(_SQL["find"], {"tenant": tenant, "name": name}).one_or_none()
    return EarlierSubmission(*row) if row else None


def forget_expired(conn: Connection, *, limit: int) -> int:
    """Delete names that are kept no longer, the oldest first; return how many."""
    return conn.exec_driver_sql(_SQL["forget_expired"], {"limit": limit}).rowcount
