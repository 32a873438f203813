"""Reads and writes steps: leases, completion, release into free slots, retries; an attempt starts in claims."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection, CursorResult, Row

from orchestrator.chord import sql
from orchestrator.chord.sql import Prepared
from orchestrator.models import record
from orchestrator.models.arm_capability import ARMS, REMOTE_QUEUE
from orchestrator.models.execution_state import StepState
from orchestrator.models.loop import FAILED_ITEMS
from orchestrator.models.plan import Offer
from orchestrator.models.step_result import StepResult

_SQL = sql.load(__file__)
_FINISH = Prepared(
    "octollm_finish",
    _SQL["finish"],
    {"id": "text", "chord_id": "text", "attempt": "int", "state": "text", "result": "text"},
)
_RELEASE = Prepared(
    "octollm_release",
    _SQL["release"],
    {"task_id": "text", "round": "int", "max_parallel": "int", "redispatch_seconds": "float8"},
)


class Backlog(NamedTuple):
    """How many rows of a queue were sent and not claimed, and how many of them are overdue."""

    queue: str
    sent: int
    overdue: int


@dataclass(frozen=True)
class StepMessage:
    """What is published about a row: ids and routing, never text from a user.

    A row in the state `waiting` joins its chord like a queued one, but is not published.
    """

    id: str
    task_id: str
    name: str
    kind: str
    arm: str
    queue: str
    priority: int
    chord_id: str | None
    round: int
    spec: dict[str, Any]
    state: str = StepState.QUEUED.value


@dataclass(frozen=True)
class FinishedStep:
    """A row that has just ended; unless it `is_announced`, the attempt's step.started is still to be written."""

    id: str
    task_id: str
    round: int
    kind: str
    name: str
    arm: str
    attempt: int
    owner: str | None
    started_at: datetime
    seconds: float
    is_announced: bool


@dataclass(frozen=True)
class Fenced:
    """A row closed by its task's end; `former_state` is its state before.

    Unless it `is_announced`, the running attempt's step.started is still to be written. `has_begun`: nobody knows
    whether its effect, which must not happen twice, took place.
    """

    id: str
    name: str
    arm: str
    kind: str
    round: int
    attempt: int
    state: str
    former_state: str
    owner: str | None
    started_at: datetime | None
    is_announced: bool
    has_begun: bool


@dataclass(frozen=True)
class StepOutcome:
    """The latest row of a step of the plan; `was_repaired` if it ran with the judge's feedback.

    `arm` and `action` are those that the router chose. `id` and `task_id` are those of the row that holds the result:
    an earlier task's if the result is reused.
    `took_effect`: its action must not run twice, and took effect or may have.
    """

    id: str
    task_id: str
    name: str
    arm: str
    action: str
    state: StepState
    round: int
    was_repaired: bool
    result: StepResult | None
    took_effect: bool = False

    @property
    def is_skipped(self) -> bool:
        """Tell whether the plan's own `when` skipped the step: a step behind a failed one has no result."""
        return self.state is StepState.SKIPPED and self.result is not None

    @property
    def failed_items(self) -> frozenset[str]:
        """Return the error codes of the items that failed in a step with for_each."""
        evidence = self.result.evidence if self.result is not None else []
        return frozenset(code for one in evidence for code in one.get(FAILED_ITEMS, ()))

    @property
    def offer(self) -> Offer:
        """Return the arm and the action that did the step, or are to do it."""
        return Offer(self.arm, self.action)


@dataclass(frozen=True)
class Reclaimed:
    """A row whose owner died or handed it back; its next attempt begins after `delay_seconds`, at the earliest."""

    id: str
    task_id: str
    name: str
    arm: str
    round: int
    attempt: int
    kills: int
    owner: str
    delay_seconds: float = field(default=0.0, kw_only=True)


def renew(conn: Connection, leases: Mapping[str, int], *, lease_seconds: float) -> set[str]:
    """Extend the leases {row id: attempt}; return the ids that are still held."""
    values = {"ids": list(leases), "attempts": list(leases.values()), "lease_seconds": lease_seconds}
    return {row.id for row in conn.exec_driver_sql(_SQL["renew"], values)}


def finish(
    conn: Connection,
    step_id: str,
    *,
    chord_id: str | None,
    attempt: int,
    state: StepState,
    result: Mapping[str, Any],
) -> FinishedStep | None:
    """Close the row and free its dependents; None if this attempt may not (a late duplicate, a zombie).

    The caller holds the locks of the chord and the task.
    """
    values = {
        "id": step_id,
        "chord_id": chord_id,
        "attempt": attempt,
        "state": state.value,
        "result": record.encode(result),
    }
    row = _FINISH.execute(conn, values).mappings().one_or_none()
    return FinishedStep(**row) if row else None


def release(
    conn: Connection, task_id: str, *, round_number: int, max_parallel: int, redispatch_seconds: float
) -> list[StepMessage]:
    """Queue held steps into the task's free slots and return them; make the judge claimable after the last step.

    Held steps with a closed gate are returned as well; from now on they wait. At most `max_parallel` other steps of the
    round are queued or running. The caller holds the task's lock.
    """
    values = {
        "task_id": task_id,
        "round": round_number,
        "max_parallel": max_parallel,
        "redispatch_seconds": redispatch_seconds,
    }
    return _messages(_RELEASE.execute(conn, values))


def retry(conn: Connection, step_id: str, *, attempt: int, delay_seconds: float) -> int | None:
    """Queue the row again after `delay_seconds`; return its failures, or None if the attempt is not current."""
    values = {"id": step_id, "attempt": attempt, "delay_seconds": delay_seconds}
    failures: int | None = conn.exec_driver_sql(_SQL["retry"], values).scalar_one_or_none()
    return failures


def postpone(conn: Connection, step_id: str, *, attempt: int, delay_seconds: float) -> bool:
    """Queue the row again after `delay_seconds` without counting a failure; False if the attempt is not current."""
    values = {"id": step_id, "attempt": attempt, "delay_seconds": delay_seconds}
    return conn.exec_driver_sql(_SQL["postpone"], values).rowcount == 1


def skip_blocked(conn: Connection, task_id: str, *, round_number: int) -> list[str]:
    """Mark the round's blocked steps as skipped; return their names."""
    values = {"task_id": task_id, "round": round_number}
    return sorted(row.name for row in conn.exec_driver_sql(_SQL["skip_blocked"], values))


def fence(conn: Connection, task_id: str) -> list[Fenced]:
    """Close every open row of the task; the caller holds the locks of the chord and the task."""
    return [Fenced(*row) for row in conn.exec_driver_sql(_SQL["fence"], {"task_id": task_id})]


def results_of(conn: Connection, task_id: str, *, round_number: int) -> list[StepOutcome]:
    """Return the latest outcome of every step up to this round, including those kept from earlier rounds."""
    rows = conn.exec_driver_sql(_SQL["results_of"], {"task_id": task_id, "round": round_number})
    return [replace(outcome_of(row), took_effect=row.took_effect) for row in rows]


def outcome_of(row: Row[Any]) -> StepOutcome:
    """Return the outcome in a row of the statement `results_of`; not whether it took effect."""
    return StepOutcome(
        row.id,
        row.task_id,
        row.name,
        row.arm,
        row.action,
        StepState(row.state),
        row.round,
        row.was_repaired,
        StepResult.from_record(row.result) if row.result else None,
    )


def backlog(conn: Connection, *, poison_step: int) -> list[Backlog]:
    """Return the queues that have a row that is due."""
    rows = conn.exec_driver_sql(_SQL["backlog"], {"poison_step": poison_step})
    return [Backlog(*row) for row in rows]


def take_due(
    conn: Connection,
    *,
    missing: Mapping[str, int],
    redispatch_seconds: float,
    poison_step: int,
    limit: int,
) -> tuple[list[StepMessage], int]:
    """Take queued rows that are due; each is due again after `redispatch_seconds`.

    Return them, and how many of them are overdue: sent before, so their message is lost. Of these it takes at most
    `missing` for each queue. The others are due for the first time: retries, and rows that were never published.
    """
    values = {
        "queues": list(missing),
        "missing": list(missing.values()),
        "redispatch_seconds": redispatch_seconds,
        "poison_step": poison_step,
        "limit": limit,
    }
    rows = [dict(row) for row in conn.exec_driver_sql(_SQL["take_due"], values).mappings()]
    overdue = sum(row.pop("is_overdue") for row in rows)
    return [StepMessage(**row) for row in rows], overdue


def count_queued(conn: Connection, *, limit: int) -> int:
    """Return how many rows of all tasks wait for a worker, at most `limit`."""
    return int(conn.exec_driver_sql(_SQL["count_queued"], {"limit": limit}).scalar_one())


def count_queued_of(conn: Connection, tenant: str, *, limit: int) -> int:
    """Return how many rows of the tenant wait for a worker, at most `limit`."""
    queues = [*(arm.queue for arm in ARMS.values()), REMOTE_QUEUE]
    values = {"tenant": tenant, "queues": queues, "limit": limit}
    return int(conn.exec_driver_sql(_SQL["count_queued_of"], values).scalar_one())


def tool_seconds(conn: Connection, tenant: str) -> int:
    """Return the seconds that the tenant's executor and coder steps took in the last 24 hours."""
    return int(conn.exec_driver_sql(_SQL["tool_seconds"], {"tenant": tenant}).scalar_one())


def queue_again(conn: Connection) -> int:
    """Make every queued row due now, after the broker lost its messages; return how many."""
    return conn.exec_driver_sql(_SQL["queue_again"], {}).rowcount


def expired(conn: Connection, *, limit: int) -> list[tuple[str, str]]:
    """Return (row id, task id) of running rows whose lease has expired; takes no lock."""
    return [(row.id, row.task_id) for row in conn.exec_driver_sql(_SQL["expired"], {"limit": limit})]


def expire(conn: Connection, step_id: str) -> Reclaimed | None:
    """Queue a row whose lease expired; None if the lease was renewed or the row has ended."""
    row = conn.exec_driver_sql(_SQL["expire"], {"id": step_id}).mappings().one_or_none()
    return Reclaimed(**row) if row else None


def hand_back(conn: Connection, step_id: str, *, owner: str, kills: int) -> Reclaimed | None:
    """Queue a row whose `owner` hands it back, due now; None if `owner` does not hold it.

    `kills` is 1 if the owner died while running it, else 0.
    """
    values = {"id": step_id, "owner": owner, "kills": kills}
    row = conn.exec_driver_sql(_SQL["hand_back"], values).one_or_none()
    return Reclaimed(*row) if row else None


def poisoned(conn: Connection, *, poison_step: int, limit: int) -> list[str]:
    """Return ids of rows that killed at least `poison_step` workers."""
    values = {"poison_step": poison_step, "limit": limit}
    return [row.id for row in conn.exec_driver_sql(_SQL["poisoned"], values)]


def out_of_reach(conn: Connection, *, patience_seconds: float, limit: int) -> list[tuple[str, str]]:
    """Return (row id, reason) of queued rows whose arm's live workers all take no work.

    `patience_seconds` is the age up to which a heartbeat counts as live, and how long a row waits for another worker.
    """
    values = {"patience_seconds": patience_seconds, "limit": limit}
    return [(row.id, row.reason) for row in conn.exec_driver_sql(_SQL["out_of_reach"], values)]


def postgres_up_seconds(conn: Connection) -> float:
    """Return how long Postgres has been up: no lease expires within one lease of its start."""
    seconds: float = conn.exec_driver_sql(_SQL["postgres_up_seconds"], {}).scalar_one()
    return seconds


def _messages(rows: CursorResult[Any]) -> list[StepMessage]:
    return [StepMessage(**row) for row in rows.mappings()]
