"""Starts attempts at rows of steps: claims with a lease and a fencing number, and turns among the tenants."""

from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Any

from sqlalchemy import Connection

from orchestrator.chord import sql
from orchestrator.chord.sql import Prepared
from orchestrator.memory.steps import StepMessage

_SQL = sql.load(__file__)
_CLAIM = Prepared(
    "octollm_claim",
    _SQL["claim"],
    {"id": "text", "owner": "text", "lease_seconds": "float8", "poison_step": "int", "max_running": "int"},
)
_ANNOUNCE = Prepared("octollm_announce", _SQL["announce"], {"id": "text"})


@dataclass(frozen=True)
class Claim:
    """The right to work on a row; `attempt` is the fencing number, `seconds_left` the time to the task's deadline.

    `contract` is complete for a plan; a step and a judge get {} in place of the client's plan. `bound` has {name of an
    earlier step: {status, output, artifact}} of those in `bindings` that are done. `attachments` has {sha256, filename,
    media_type, size_bytes} of the contract's files, in its order; None for a judge, and if there are none. `created_at`
    is the task's.
    """

    id: str
    task_id: str
    round: int
    kind: str
    name: str
    arm: str
    chord_id: str | None
    spec: dict[str, Any]
    bindings: dict[str, str]
    attempt: int
    failures: int
    kills: int
    waited_seconds: float
    tenant: str
    contract: dict[str, Any]
    cache_key: str | None
    deadline_at: datetime
    created_at: datetime
    trace_context: dict[str, Any] | None
    seconds_left: float
    bound: dict[str, dict[str, Any]] | None = None
    attachments: list[dict[str, Any]] | None = None


class Refusal(Enum):
    """Why a row was not claimed."""

    CLOSED = "it is done, running or not yet due, or its task has ended"
    NOT_IN_TURN = "its tenant has its share, or another claim was faster"


@dataclass(frozen=True)
class Turn:
    """The answer when a tenant has its share of an arm: `message` is another tenant's waiting row, if any."""

    message: StepMessage | None


def claim(
    conn: Connection,
    step_id: str,
    *,
    owner: str,
    lease_seconds: float,
    poison_step: int,
    max_running: int | None = None,
) -> Claim | Refusal:
    """Take the row for `lease_seconds`, or say why not.

    It is not in turn if its tenant runs `max_running` steps or has its share of the arm's slots; shares are not checked
    without `max_running`. One statement, made for autocommit mode; three if it takes the row from an attempt whose
    step.started is not written yet. Locks the step's row, and before it the task's for a plan or a judge, whose
    step.started it writes. A step's is written by `announce`, or with the end of the attempt.
    """
    values = {
        "id": step_id,
        "owner": owner,
        "lease_seconds": lease_seconds,
        "poison_step": poison_step,
        "max_running": max_running,
    }
    row = _CLAIM.first(conn, values)
    if row is not None and row["attempt"] is None and row["is_unannounced"]:
        announce(conn, step_id)
        row = _CLAIM.first(conn, values)
    if row is None:
        return Refusal.CLOSED
    if row["attempt"] is None:
        return Refusal.NOT_IN_TURN
    return Claim(**{name: value for name, value in row.items() if name != "is_unannounced"})


def announce(conn: Connection, step_id: str) -> bool:
    """Write step.started of the attempt that runs at the row; False if it is written, or no attempt runs.

    Locks the task's row, then the step's. Call it before the statement that ends an attempt without its result.
    """
    return _ANNOUNCE.execute(conn, {"id": step_id}).rowcount == 1


def report(conn: Connection, step_id: str, *, attempt: int, percent: float | None, message: str) -> bool:
    """Write step.progress of an attempt, after its step.started; False if the attempt no longer runs at the row.

    Locks the task's row, then the step's.
    """
    values = {"id": step_id, "attempt": attempt, "percent": percent, "message": message}
    return conn.exec_driver_sql(_SQL["report"], values).rowcount == 1


def next_in_turn(conn: Connection, step_id: str, *, poison_step: int, max_running: int) -> Turn | None:
    """Return which row runs instead of one whose tenant has its share; None if another reason refused its claim."""
    values = {"id": step_id, "poison_step": poison_step, "max_running": max_running}
    row = conn.exec_driver_sql(_SQL["next_in_turn"], values).mappings().one_or_none()
    return None if row is None else Turn(StepMessage(**row) if row["id"] else None)


def delay_queued(conn: Connection, step_id: str, *, delay_seconds: float) -> None:
    """Delay a queued row: it is published and may be claimed again after `delay_seconds`."""
    conn.exec_driver_sql(_SQL["delay_queued"], {"id": step_id, "delay_seconds": delay_seconds})
