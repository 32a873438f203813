"""Stores chords and their parts: members, counted parts, and the single transition to ready.

A chord's states are open -> ready -> fired; `closed` ends a chord whose body must not run. Every function uses the
caller's connection and never commits. Only the result backend writes chords, except that a task's end closes one.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path

from sqlalchemy import Connection

from orchestrator.chord import sql
from orchestrator.chord.sql import Prepared

_SQL = sql.load(__file__)

_OPENING = {"chord_id": "text", "body": "bytea", "header": "bytea", "size": "integer"}
_OPEN = Prepared("octollm_open", _SQL["open"], _OPENING)
_REOPEN = Prepared("octollm_reopen", _SQL["reopen"], _OPENING)
_LOCK = Prepared("octollm_lock", _SQL["lock"], {"chord_id": "text"})
_JOIN = Prepared("octollm_join", _SQL["join"], {"chord_id": "text", "task_ids": "text[]"})
_COUNT_PART = Prepared(
    "octollm_count_part",
    _SQL["count_part"],
    {
        "chord_id": "text",
        "task_id": "text",
        "idx": "integer",
        "failed": "boolean",
        "keep_value": "boolean",
        "store": "boolean",
        "status": "text",
        "value": "bytea",
        "traceback": "text",
        "meta": "bytea",
    },
)
_PART_VALUES = Prepared("octollm_part_values", _SQL["part_values"], {"chord_id": "text", "all": "boolean"})

ANYWHERE = -1
"""The index of a part whose place in the header does not matter or is unknown."""


class Refused(Exception):
    """The task's hook does not accept this outcome: a late duplicate, or an attempt that lost its lease.

    Raised by a task's `on_stored`; everything rolls back and the message is acknowledged.
    """


class StoreAgain(Exception):
    """The outcome has become that of a part of another chord while it was stored.

    Raised by a task's `on_stored`; everything rolls back, and the outcome is stored from the beginning.
    """


class ChordState(StrEnum):
    """The state of a chord."""

    OPEN = "open"
    READY = "ready"
    FIRED = "fired"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class EncodedResult:
    """A task's stored outcome; `value` and `meta` are encoded by the backend's serializer."""

    status: str
    value: bytes | None
    traceback: str | None = None
    meta: bytes | None = None


@dataclass(frozen=True, slots=True)
class Ready:
    """A chord whose body is due to be published; `body` and `header` as given to `open`."""

    chord_id: str
    body: bytes | None
    header: bytes | None


@dataclass(frozen=True, slots=True)
class Count:
    """A chord's state after a part was counted; `ready` is set if its body is due to be published now."""

    state: ChordState
    ready: Ready | None
    lacks_body: bool


@dataclass(frozen=True, slots=True)
class FinishedPart:
    """A part to be counted, at place `idx` of the header; `failed` makes the chord end in an error.

    With `keep_value` the part keeps the value for the body, otherwise the body reads it from the results.
    """

    task_id: str
    idx: int = ANYWHERE
    failed: bool = False
    keep_value: bool = False


@dataclass(frozen=True, slots=True)
class Part:
    """A counted part: its value, or its error if it `failed`."""

    task_id: str
    failed: bool
    value: bytes | None


def schema_sql() -> str:
    """Return the statements that create the engine's four tables; running them twice is safe."""
    return Path(__file__).with_name("backend.sql").read_text(encoding="utf-8")


def prepare(conn: Connection) -> None:
    """Create the tables if they are missing; concurrent processes wait for each other."""
    if conn.exec_driver_sql(_SQL["is_missing"]).scalar_one():
        conn.exec_driver_sql(_SQL["lock_schema"])
        conn.exec_driver_sql(schema_sql())


def open(  # noqa: A001
    conn: Connection, chord_id: str, *, body: bytes, header: bytes | None = None, size: int | None = None
) -> None:
    """Open a chord of `size` parts (None if not known yet, see `resize`). Opening it twice changes nothing."""
    parameters = {"chord_id": chord_id, "body": body, "header": header, "size": size}
    _OPEN.execute(conn, parameters)


def reopen(
    conn: Connection, chord_id: str, *, body: bytes, header: bytes | None = None, size: int | None = None
) -> None:
    """Open a chord, or start it again if it has fired: Celery allows a frozen chord to be applied again."""
    parameters = {"chord_id": chord_id, "body": body, "header": header, "size": size}
    _REOPEN.execute(conn, parameters)


def resize(conn: Connection, chord_id: str, size: int) -> Ready | None:
    """Set the number of the header's tasks; return the chord if that completed it."""
    row = conn.exec_driver_sql(_SQL["resize"], {"chord_id": chord_id, "size": size}).one_or_none()
    if row is None or row.state != ChordState.READY:
        return None
    return Ready(chord_id, _bytes(row.body), _bytes(row.header))


def keep_body(conn: Connection, chord_id: str, *, body: bytes) -> None:
    """Give a body to a chord that has none."""
    conn.exec_driver_sql(_SQL["keep_body"], {"chord_id": chord_id, "body": body})


def lock(conn: Connection, chord_id: str) -> ChordState | None:
    """Lock the chord's row until the transaction ends; None if there is no such chord."""
    state = _LOCK.execute(conn, {"chord_id": chord_id}).scalar_one_or_none()
    return None if state is None else ChordState(state)


def join(conn: Connection, chord_id: str, task_ids: Sequence[str]) -> None:
    """Make tasks members of an open chord, which then waits for them too. Joining twice changes nothing."""
    if task_ids:
        _JOIN.execute(conn, {"chord_id": chord_id, "task_ids": list(task_ids)})


def count_part(
    conn: Connection, chord_id: str, part: FinishedPart, *, outcome: EncodedResult | None, store: bool = True
) -> Count:
    """Count a part once, and store its outcome in the same statement if `store`.

    Counting into a ready chord returns it as ready again; counting into a fired or closed one does nothing.
    """
    outcome = outcome or EncodedResult("", None)
    row = _COUNT_PART.execute(
        conn,
        {
            "chord_id": chord_id,
            **asdict(part),
            "store": store,
            "status": outcome.status,
            "value": outcome.value,
            "traceback": outcome.traceback,
            "meta": outcome.meta,
        },
    ).one()
    state = ChordState(row.state)
    ready = Ready(chord_id, _bytes(row.body), _bytes(row.header)) if state is ChordState.READY else None
    return Count(state, ready, row.lacks_body)


def parts(conn: Connection, chord_id: str, *, failed_only: bool) -> list[Part]:
    """Return the counted parts in the header's order, or only the failed ones."""
    rows = _PART_VALUES.execute(conn, {"chord_id": chord_id, "all": not failed_only})
    return [Part(row.task_id, row.failed, _bytes(row.value)) for row in rows]


def ready(conn: Connection, limit: int, *, older_than_seconds: float = 1.0) -> list[Ready]:
    """Take chords that have been ready for longer than that, and delay them by the same time."""
    rows = conn.exec_driver_sql(_SQL["ready"], {"limit": limit, "older_than_seconds": older_than_seconds})
    return [Ready(row.id, _bytes(row.body), _bytes(row.header)) for row in rows]


def mark_fired(conn: Connection, chord_id: str) -> None:
    """Record that the chord's body has been published."""
    conn.exec_driver_sql(_SQL["mark_fired"], {"chord_id": chord_id})


def close(conn: Connection, chord_id: str) -> None:
    """Close a chord without running its body; later parts are not counted. Closing twice is safe.

    A chord whose body was published stays `fired`.
    """
    conn.exec_driver_sql(_SQL["close"], {"chord_id": chord_id})


def forget(conn: Connection, chord_ids: Sequence[str], *, task_ids: Sequence[str]) -> None:
    """Delete chords with their parts, and the results of tasks; missing ones are ignored."""
    conn.exec_driver_sql(_SQL["forget"], {"chord_ids": list(chord_ids), "task_ids": list(task_ids)})


def expire(conn: Connection, *, seconds: float, open_too: bool = False) -> None:
    """Delete chords opened longer ago than that, with their parts; waiting ones only if `open_too`."""
    conn.exec_driver_sql(_SQL["expire"], {"seconds": seconds, "open_too": open_too})


def _bytes(column: memoryview | None) -> bytes | None:
    return None if column is None else bytes(column)
