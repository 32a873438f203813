"""Reads and writes the audit log: who did what, from where, and whether it was allowed. Entries never change."""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from enum import StrEnum

from sqlalchemy import Connection

from orchestrator.chord import sql
from orchestrator.models import record

LEAST_RETENTION_DAYS = 7
"""The table's trigger enforces the same minimum."""
_SQL = sql.load(__file__)


class AuditOutcome(StrEnum):
    """The action was done, refused for a missing right, or failed for another reason."""

    ALLOWED = "allowed"
    DENIED = "denied"
    FAILED = "failed"


@dataclass(frozen=True, kw_only=True)
class AuditEntry:
    """One action. `object` is an id and `reason` a code: never a client's text, which might contain a secret.

    `key_id` of a refused credential is the id it claims. `times` above 1 counts actions that got no entry of their own.
    `noted_at` (time.monotonic()) is when it happened; Postgres converts it to `occurred_at`, which is set on reading.
    """

    action: str
    outcome: AuditOutcome
    tenant: str | None = None
    key_id: str | None = None
    subject: str | None = None
    address: str | None = None
    object: str | None = None
    reason: str | None = None
    request_id: str | None = None
    times: int = 1
    occurred_at: datetime | None = None
    noted_at: float = field(default_factory=time.monotonic, compare=False)


def append(conn: Connection, entries: Sequence[AuditEntry]) -> None:
    """Add entries, in one statement."""
    now = time.monotonic()
    rows = [{**asdict(entry), "age_seconds": now - entry.noted_at} for entry in entries]
    conn.exec_driver_sql(_SQL["append"], {"entries": record.encode(rows)})


def find(
    conn: Connection,
    *,
    tenant: str | None = None,
    action: str | None = None,
    outcome: AuditOutcome | None = None,
    since: datetime | None = None,
    limit: int = 100,
) -> list[AuditEntry]:
    """Return at most `limit` entries, newest first. The action `task` matches task.submit, task.cancel, ..."""
    values = {"tenant": tenant, "action": action, "outcome": outcome, "since": since, "limit": limit}
    rows = conn.exec_driver_sql(_SQL["find"], values).mappings()
    return [AuditEntry(**{**row, "outcome": AuditOutcome(row["outcome"])}) for row in rows]


def forget(conn: Connection, *, days: int, limit: int) -> int:
    """Delete at most `limit` entries older than `days`, LEAST_RETENTION_DAYS or more; return how many."""
    return conn.exec_driver_sql(_SQL["forget"], {"days": days, "limit": limit}).rowcount
