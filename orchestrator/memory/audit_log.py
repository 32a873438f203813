"""Reads and writes the audit log: who did what, from where, and whether it was allowed. Entries never change."""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, NamedTuple

from sqlalchemy import Connection, Row

from orchestrator.chord import sql
from orchestrator.models import record

LEAST_RETENTION_DAYS = 7
"""The table's trigger enforces the same minimum."""
MAX_SEEN = 10_000
"""A page looks at so many entries at most."""
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


@dataclass(frozen=True)
class AuditFilter:
    """Which entries to read: all members that are set must fit.

    The action `task` matches task.submit, task.cancel, ... An entry happened at or after `since` and before `until`.
    """

    tenant: str | None = None
    action: str | None = None
    outcomes: tuple[str, ...] = ()
    key_id: str | None = None
    since: datetime | None = None
    until: datetime | None = None

    def values(self) -> dict[str, Any]:
        """Return the parameters of the statements, for the first page without a limit."""
        first_page = {"before": None, "before_at": None, "window": None}
        return {**vars(self), "outcomes": list(self.outcomes) or None, **first_page}


class Cursor(NamedTuple):
    """An entry behind which the next page begins."""

    id: int
    occurred_at: datetime


class Page(NamedTuple):
    """Entries, newest first; `seen_back_to` is set if MAX_SEEN entries were looked at: the time of the last."""

    entries: list[AuditEntry]
    next_cursor: Cursor | None
    seen_back_to: datetime | None


def find(
    conn: Connection,
    *,
    tenant: str | None = None,
    action: str | None = None,
    outcome: AuditOutcome | None = None,
    since: datetime | None = None,
    limit: int = 100,
) -> list[AuditEntry]:
    """Return at most `limit` entries that fit, newest first; see AuditFilter."""
    wanted = AuditFilter(tenant, action, (outcome,) if outcome else (), since=since)
    return [_entry(row) for row in conn.exec_driver_sql(_SQL["find"], {**wanted.values(), "limit": limit})]


def list_page(conn: Connection, wanted: AuditFilter, *, limit: int, cursor: Cursor | None = None) -> Page:
    """Return a page of the entries that fit, newest first.

    It looks at MAX_SEEN entries and may hold fewer than `limit` though others follow: then `next_cursor` is set.
    """
    values = {**wanted.values(), "window": MAX_SEEN, "limit": limit + 1}
    if cursor:
        values |= {"before": cursor.id, "before_at": cursor.occurred_at}
    rows = conn.exec_driver_sql(_SQL["find"], values).all()
    entries = [_entry(row) for row in rows[:limit]]
    if len(rows) > limit:
        last = rows[limit - 1]
        return Page(entries, Cursor(last.id, last.occurred_at), None)
    seen = conn.exec_driver_sql(_SQL["last_seen"], values).one_or_none()
    return Page(entries, Cursor(*seen) if seen else None, seen.occurred_at if seen else None)


def _entry(row: Row[Any]) -> AuditEntry:
    members = {name: value for name, value in row._mapping.items() if name != "id"}
    return AuditEntry(**{**members, "outcome": AuditOutcome(row.outcome)})


def forget(conn: Connection, *, days: int, limit: int) -> int:
    """Delete at most `limit` entries older than `days`, LEAST_RETENTION_DAYS or more; return how many."""
    return conn.exec_driver_sql(_SQL["forget"], {"days": days, "limit": limit}).rowcount
