"""Ends tasks: completion, rejection, cancellation, failure and deadline all close a task through `end_task`."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine

from orchestrator.cache import coalescing
from orchestrator.cache.admission import Admission
from orchestrator.cache.coalescing import EndedFollower
from orchestrator.chord import chord
from orchestrator.chord.database import in_transaction
from orchestrator.lifecycle.event_payloads import started_events
from orchestrator.memory import approvals, budget, events, steps, tasks, webhooks
from orchestrator.memory.approvals import Withdrawn
from orchestrator.memory.events import Fact
from orchestrator.memory.steps import Fenced, StepOutcome
from orchestrator.memory.tasks import LockedTask
from orchestrator.models.errors import OutcomeUnknown
from orchestrator.models.execution_state import StepState, TaskStatus
from orchestrator.models.ids import chord_id

T = TypeVar("T")

_NOT_SHARED = Admission(is_shared=False)
# equal tasks would fail in the same way
_SHARED_FAILURES = frozenset({"unplannable", "invalid_plan", "validation_failed"})


@dataclass(frozen=True)
class Ending:
    """How a task is to end, and what to record of it before its terminal event.

    `admission` says what the result may do for other tasks; `cache` is {layer, source_task_id, age_seconds} of a
    result that another task made. `has_writes`: an action of the task changed something outside, so that not even its
    failure counts for other tasks.
    """

    status: TaskStatus
    result: Mapping[str, Any] | None = None
    error: Mapping[str, Any] | None = None
    facts: Sequence[Fact] = ()
    decisions: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    admission: Admission = _NOT_SHARED
    cache: Mapping[str, Any] | None = None
    has_writes: bool = False

    @property
    def is_shared(self) -> bool:
        """Return whether the task's followers end as it does."""
        if self.error is not None and self.error["code"] in _SHARED_FAILURES:
            return not self.has_writes
        return self.admission.is_shared


@dataclass(frozen=True)
class Ended:
    """A task that has ended: the rows that its end stopped, and the followers that ended with it.

    `error_code` is set if it failed; `created_at` is by Postgres' clock.
    """

    task_id: str
    status: TaskStatus
    priority: str
    age_seconds: float
    created_at: datetime
    trace_context: Mapping[str, Any] | None
    error_code: str | None
    stopped: Sequence[Fenced]
    shared: Sequence[EndedFollower] = ()


class _RoundMoved(Exception):
    """The judge saved the next round after the round was read and before its chord was locked."""


def with_locked_task(
    engine: Engine, task_id: str, work: Callable[[Connection, LockedTask], T], *, tenant: str | None = None
) -> T | None:
    """Run `work` in a transaction that locks the task's current chord and then the task.

    Reads the round without a lock and checks it under the lock; starts again if it changed. None when there is no
    such task (of that tenant).
    """

    def attempt(conn: Connection) -> T | None:
        number = tasks.current_round(conn, task_id, tenant=tenant)
        if number is None:
            return None
        if number:
            chord.lock(conn, chord_id(task_id, round_number=number))
        task = tasks.lock_task(conn, task_id)
        if task is None:
            return None
        if task.round != number:
            raise _RoundMoved
        return work(conn, task)

    while True:
        try:
            return in_transaction(engine, attempt)
        except _RoundMoved:
            continue


def end_task(conn: Connection, task: LockedTask, ending: Ending) -> Ended:
    """Close the task: its chord, its open rows and approvals, then the task itself, with its terminal event and trace.

    The caller holds the locks of the current chord and of the task, and has checked that the task is open. Without a
    result the outputs of the finished steps are kept as a partial result.
    """
    stopped = steps.fence(conn, task.id)
    budget.charge_open(conn, task.id)
    if task.round:
        chord.close(conn, chord_id(task.id, round_number=task.round))
    result, error = ending.result, ending.error
    if result is None:
        result = partial_result(steps.results_of(conn, task.id, round_number=task.round))
    end = tasks.TaskEnd(ending.status.value, result, error, ending.admission.fresh_seconds, ending.cache)
    written = tasks.finish_task(conn, task.id, end)
    if not written:
        raise RuntimeError(f"{task.id} had already ended, though its row was locked and open")
    withdrawn = approvals.withdraw(conn, task.id) if task.has_gates else ()
    summary = end_summary(ending, stopped)
    facts = [
        *ending.facts,
        *started_events(stopped),
        *(_stopped_event(row) for row in stopped if row.kind == "step"),
        *withdrawn_events(withdrawn),
        (f"task.{ending.status.value}", summary),
    ]
    decisions = {**ending.decisions, "end": summary}
    events.write(conn, task.id, facts, round_number=task.round, decisions=decisions)
    if task.contract.get("callback_url"):
        webhooks.enqueue(conn, task.id)
    shared = settle_followers(conn, task.id, is_shared=ending.is_shared) if task.leads else ()
    return Ended(
        task.id,
        ending.status,
        task.priority,
        task.age_seconds,
        created_at=task.created_at,
        trace_context=task.trace_context,
        error_code=ending.error["code"] if ending.error else None,
        stopped=stopped,
        shared=shared,
    )


def withdraw_left_over(conn: Connection, task: LockedTask) -> bool:
    """Withdraw what a process of 0.3 left pending when it ended the task, and close the steps; False if it is open.

    The task's last event is written already, so no other follows. The caller holds the task's lock.
    """
    if task.finished_at is None:
        return False
    approvals.withdraw(conn, task.id)
    steps.fence(conn, task.id)
    return True


def end_summary(ending: Ending, stopped: Sequence[Fenced] = ()) -> dict[str, Any]:
    """Return what the terminal event and the trace tell of a task's end."""
    unknown = sorted(row.name for row in stopped if row.has_begun)
    return {
        "status": ending.status.value,
        "error": dict(ending.error) if ending.error else None,
        "stopped": [row.name for row in stopped if row.state == "cancelled" and row.kind == "step"],
        **({"outcome_unknown": unknown} if unknown else {}),
    }


def end_at_deadline(engine: Engine, task_id: str) -> Ended | None:
    """End a task whose deadline has passed, with a partial result; None when it is not due or has ended."""

    def end(conn: Connection, task: LockedTask) -> Ended | None:
        if task.finished_at is not None or not task.is_past_deadline:
            return None
        message = f"The task did not end before its deadline, {task.deadline_at.isoformat()}."
        error = task_error("deadline_exceeded", code="deadline_exceeded", message=message, retryable=True)
        return end_task(conn, task, Ending(TaskStatus.FAILED, error=error))

    return with_locked_task(engine, task_id, end)


def settle_followers(conn: Connection, leader_id: str, *, is_shared: bool) -> Sequence[EndedFollower]:
    """End the followers as their leader ended, or else promote the oldest one; the caller holds the leader's lock."""
    followers = coalescing.lock_followers(conn, leader_id)
    if not followers:
        return ()
    if is_shared:
        return coalescing.share(conn, leader_id, followers)
    coalescing.promote(conn, leader_id, followers)
    return ()


def settle_leaderless(engine: Engine, leader_id: str) -> bool:
    """Promote the oldest follower of a leader that has ended; False when there is none."""

    def promote(conn: Connection) -> bool:
        leader = tasks.lock_task(conn, leader_id)
        if leader is None or leader.finished_at is None:
            return False
        return coalescing.promote(conn, leader_id, coalescing.lock_followers(conn, leader_id)) is not None

    return in_transaction(engine, promote)


def partial_result(outcomes: Sequence[StepOutcome]) -> dict[str, Any] | None:
    """Return the outputs of finished steps as a result marked partial and not validated; None without any."""
    done = {
        row.name: row.result for row in outcomes if row.state is StepState.DONE and row.result is not None
    }
    if not done:
        return None
    lines = [f"{name}: {_summary(result.output)}" for name, result in done.items()]
    return {
        "output": "\n".join(lines),
        "coverage": 0.0,
        "confidence": 0.0,
        "validation_passed": False,
        "data": {name: result.output for name, result in done.items()},
        "artifacts": [],
        "warnings": [
            "The task ended before its result was judged; these outputs are of the steps that had finished."
        ],
        "partial": True,
    }


def withdrawn_events(withdrawn: Sequence[Withdrawn]) -> list[Fact]:
    """Return the events of approvals that nobody needs to decide any more."""
    return [
        (
            "approval.withdrawn",
            {
                "approval_id": one.id,
                "step": one.step,
                "step_id": one.step_id,
                "round": one.round,
                "kind": one.kind,
            },
        )
        for one in withdrawn
    ]


def task_error(
    kind: str, *, code: str, message: str, retryable: bool = False, details: str | None = None
) -> dict[str, Any]:
    """Return a task's error in the shape that clients parse; `details` is a string or null."""
    return {"type": kind, "code": code, "message": message, "details": details, "retryable": retryable}


def _summary(output: Any) -> str:
    summary = output.get("summary") if isinstance(output, Mapping) else None
    return summary if isinstance(summary, str) else "done"


def _stopped_event(row: Fenced) -> tuple[str, dict[str, Any]]:
    if row.state == "skipped":
        return "step.skipped", {"step": row.name, "step_id": row.id, "round": row.round, "arm": row.arm}
    error = {"code": "cancelled", "message": "The task ended before this step did."}
    if row.has_begun:
        error = {
            "code": OutcomeUnknown.code,
            "message": "The task ended while the step's action ran: nobody knows whether it took effect.",
        }
    fact = {"step": row.name, "step_id": row.id, "round": row.round, "arm": row.arm, "attempt": row.attempt}
    return "step.failed", {**fact, "was": row.former_state, "error": error}
