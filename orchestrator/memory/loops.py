"""Reads and writes the rows of a step with for_each: inserts its items, reads them to be gathered or run again."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from orchestrator.chord import sql
from orchestrator.models import record
from orchestrator.models.execution_state import StepState
from orchestrator.models.loop import EarlierItem
from orchestrator.models.step_result import StepResult

_SQL = sql.load(__file__)


@dataclass(frozen=True)
class LoopPart:
    """A row of a for_each in one round; `index` is None for the spread."""

    name: str
    state: StepState
    index: int | None
    result: StepResult | None


def add_items(
    conn: Connection, task_id: str, rows: Sequence[Mapping[str, Any]], *, parent: str, gather_id: str
) -> None:
    """Insert the items of a step and let its gather wait for those that are not done.

    The caller holds the task's lock, and closes the spread in the same transaction, which refuses a second time.
    """
    values = {"task_id": task_id, "rows": record.encode(rows), "parent": parent, "gather_id": gather_id}
    conn.exec_driver_sql(_SQL["add_items"], values)


def read_parts(conn: Connection, task_id: str, *, round_number: int, parent: str) -> list[LoopPart]:
    """Return the spread of a step in a round, then its items in order."""
    values = {"task_id": task_id, "round": round_number, "parent": parent}
    return [
        LoopPart(
            row.name,
            StepState(row.state),
            row.place,
            StepResult.from_record(row.result) if row.result else None,
        )
        for row in conn.exec_driver_sql(_SQL["read_parts"], values)
    ]


def earlier_items(conn: Connection, task_id: str, *, round_number: int, parent: str) -> list[EarlierItem]:
    """Return the latest row of each item of a step up to a round."""
    values = {"task_id": task_id, "round": round_number, "parent": parent}
    return [EarlierItem(**row) for row in conn.exec_driver_sql(_SQL["earlier_items"], values).mappings()]
