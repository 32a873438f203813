"""Reads and writes task results and saved groups, as rows of encoded bytes."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection

from orchestrator.chord import sql
from orchestrator.chord.chord import EncodedResult

_SQL = sql.load(__file__)


@dataclass(frozen=True, slots=True)
class StoredResult:
    """A row of `results`."""

    task_id: str
    outcome: EncodedResult
    stored_at: datetime


def store(conn: Connection, task_id: str, *, outcome: EncodedResult) -> None:
    """Store an outcome; the first SUCCESS of a task stays."""
    conn.exec_driver_sql(
        _SQL["store"],
        {
            "task_id": task_id,
            "status": outcome.status,
            "value": outcome.value,
            "traceback": outcome.traceback,
            "meta": outcome.meta,
        },
    )


def read(conn: Connection, task_ids: Collection[str]) -> list[StoredResult]:
    """Return the results of these tasks; a task that stored nothing is left out."""
    rows = conn.exec_driver_sql(_SQL["read"], {"task_ids": list(task_ids)})
    return [
        StoredResult(
            row.task_id,
            EncodedResult(row.status, _bytes(row.value), row.traceback, _bytes(row.meta)),
            row.stored_at,
        )
        for row in rows
    ]


def forget(conn: Connection, task_id: str) -> None:
    """Delete a task's result."""
    conn.exec_driver_sql(_SQL["forget"], {"task_id": task_id})


def save_group(conn: Connection, group_id: str, *, value: bytes) -> None:
    """Store a group's result, replacing an older one."""
    conn.exec_driver_sql(_SQL["save_group"], {"group_id": group_id, "value": value})


def read_group(conn: Connection, group_id: str) -> tuple[bytes, datetime] | None:
    """Return a saved group's value and when it was saved."""
    row = conn.exec_driver_sql(_SQL["read_group"], {"group_id": group_id}).one_or_none()
    return None if row is None else (bytes(row.value), row.saved_at)


def delete_group(conn: Connection, group_id: str) -> None:
    """Delete a saved group."""
    conn.exec_driver_sql(_SQL["delete_group"], {"group_id": group_id})


def expire(conn: Connection, *, seconds: float) -> None:
    """Delete results and groups stored longer ago than that."""
    conn.exec_driver_sql(_SQL["expire"], {"seconds": seconds})


def _bytes(column: memoryview | None) -> bytes | None:
    return None if column is None else bytes(column)
