"""Reads two rounds so that they can be compared: by hashes, without the outputs themselves."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from sqlalchemy import Connection

from orchestrator.chord import sql

_SQL = sql.load(__file__)


@dataclass(frozen=True)
class RowSeen:
    """The row that stands for a step in a round; `asked` are its inputs as planned, its list, and the judge's feedback.

    `id` and `task_id` are those of the row that holds the result, `bindings` {name of a step: id of its row}.
    """

    name: str
    id: str
    task_id: str
    round: int
    state: str
    arm: str
    action: str
    asked: list[Any]
    bindings: dict[str, str | None]
    output_sha256: str | None
    output_bytes: int | None
    summary: str | None
    error_code: str | None
    duration_ms: int | None


@dataclass(frozen=True)
class RoundUse:
    """What a round used, and how long it took; the cost is None if a part of it is not known."""

    tokens: int
    cost: Decimal | None
    milliseconds: int


def rows_of(conn: Connection, task_id: str, *, round_number: int) -> list[RowSeen]:
    """Return the row that stands for each step in a round."""
    rows = conn.exec_driver_sql(_SQL["rows"], {"task_id": task_id, "round": round_number})
    return [RowSeen(*row) for row in rows]


def part_hashes(conn: Connection, wanted: Sequence[tuple[str, str]]) -> dict[tuple[str, str], str]:
    """Return the sha256 of parts of outputs by (row id, path); a path is a JSON list of the names on the way."""
    if not wanted:
        return {}
    ids, paths = zip(*wanted, strict=True)
    rows = conn.exec_driver_sql(_SQL["parts"], {"ids": list(ids), "paths": list(paths)})
    return {(row.id, row.path): row.sha256 for row in rows}


def round_use(conn: Connection, task_id: str, *, number: int) -> RoundUse | None:
    """Return what a round used; None if there is no such round."""
    row = conn.exec_driver_sql(_SQL["round"], {"task_id": task_id, "number": number}).one_or_none()
    return RoundUse(*row) if row else None
