"""Reads the stack's processes and rows: which process runs which step."""

from pathlib import Path
from typing import Any

from sqlalchemy import Engine

from tests.waiting import wait_until


def owner_of(database: Engine, task_id: str, name: str) -> int:
    """Wait until the step runs and return the pid of the process that runs it."""

    def running() -> str | None:
        row = row_of(database, task_id, name)
        return str(row["owner"]) if row and row["state"] == "running" else None

    return int(wait_until(running, 30, f"{name} to run").rpartition(":")[2])


def row_of(database: Engine, task_id: str, name: str) -> dict[str, Any]:
    """Return the step's row; empty if it does not exist yet."""
    sql = "SELECT * FROM steps WHERE task_id = %(id)s AND name = %(name)s"
    with database.connect() as conn:
        row = conn.exec_driver_sql(sql, {"id": task_id, "name": name}).mappings().one_or_none()
    return dict(row) if row else {}


def parent_of(pid: int) -> int:
    """Return the pid of the process's parent."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[1])
