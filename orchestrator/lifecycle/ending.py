"""Ends tasks: the one way in which finish, rejection, cancel, deadline and poison close a task."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine

from orchestrator.cache import coalescing
from orchestrator.cache.admission import Admission
from orchestrator.cache.coalescing import EndedFollower
from orchestrator.chord import chord
from orchestrator.chord.database import in_transaction
from orchestrator.memory import budget, events, steps, tasks, webhooks
from orchestrator.memory.events import Fact
from orchestrator.memory.steps import Fenced, StepOutcome
from orchestrator.memory.tasks import LockedTask
from orchestrator.models.execution_state import StepState, TaskStatus
from orchestrator.models.ids import chord_id

T = TypeVar("T")

_NOT_SHARED = Admission(is_shared=False)
# the same question would fail in the same way
_SHARED_FAILURES = frozenset({"unplannable", "invalid_plan", "validation_failed"})


@dataclass(frozen=True)
class Ended:
    """How a task ended, which rows that closed, and which followers ended with it."""

    task_id: str
    status: TaskStatus
    priority: str
    age_seconds: float
    stopped: Sequence[Fenced]
    shared: Sequence[EndedFollower] = ()


class _RoundMoved(Exception):
    """Between reading the round and locking its chord, the judge saved the next one."""


def with_locked_task(
    engine: Engine, task_id: str, work: Callable[[Connection, LockedTask], T], *, tenant: str | None = None
) -> T | None:
    """Run `work` in a transaction that holds the locks of the task's current chord and of the task, in that order.

    The round is read without a lock and read again under it: if it moved, all starts again. None when there is
    no such task (of that tenant).
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


def end_task(
    conn: Connection,
    task: LockedTask,
    *,
    status: TaskStatus,
    result: Mapping[str, Any] | None = None,
    error: Mapping[str, Any] | None = None,
    facts: Sequence[Fact] = (),
    decisions: Mapping[str, Mapping[str, Any]] | None = None,
    admission: Admission = _NOT_SHARED,
    cache: Mapping[str, Any] | None = None,
) -> Ended:
    """Close the task: its chord, its open rows, then itself, with the terminal event and the trace of it.

    The caller holds the locks of the current chord and the task, and has seen that the task is open. Without a
    `result` what was finished is kept as a partial one. `facts` and `decisions` are told before the end. `admission`
    says what the result may do for others, `cache` where it came from, if from elsewhere.
    """
    stopped = steps.fence(conn, task.id)
    budget.charge_open(conn, task.id)
    if task.round:
        chord.close(conn, chord_id(task.id, round_number=task.round))
    if result is None:
        result = partial_result(steps.results_of(conn, task.id, round_number=task.round))
    end = tasks.TaskEnd(status.value, result, error, admission.fresh_seconds, cache)
    written = tasks.finish_task(conn, task.id, end)
    if not written:
        raise RuntimeError(f"{task.id} had ended before, though its row was locked and open")
    summary = {
        "status": status.value,
        "error": dict(error) if error else None,
        "stopped": [row.name for row in stopped if row.state == "cancelled" and row.kind == "step"],
    }
    told = [
        *facts,
        *(_stopped_event(row) for row in stopped if row.kind == "step"),
        (f"task.{status.value}", summary),
    ]
    events.write(
        conn, task.id, told, round_number=task.round, decisions={**(decisions or {}), "end": summary}
    )
    if task.contract.get("callback_url"):
        webhooks.enqueue(conn, task.id)
    is_shared = admission.is_shared or (error is not None and error["code"] in _SHARED_FAILURES)
    shared = settle_followers(conn, task.id, is_shared=is_shared) if task.leads else ()
    return Ended(task.id, status, task.priority, task.age_seconds, stopped, shared)


def settle_followers(conn: Connection, leader_id: str, *, is_shared: bool) -> Sequence[EndedFollower]:
    """End the followers as their leader has ended, or let the oldest run in its place; the leader is locked."""
    followers = coalescing.lock_followers(conn, leader_id)
    if not followers:
        return ()
    if is_shared:
        return coalescing.share(conn, leader_id, followers)
    coalescing.promote(conn, leader_id, followers)
    return ()


def partial_result(outcomes: Sequence[StepOutcome]) -> dict[str, Any] | None:
    """Return what finished steps gave, marked as partial and not validated; None when nothing did."""
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
        "warnings": ["The task ended before its result was judged; this is what had been finished."],
        "partial": True,
    }


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
    fact = {"step": row.name, "step_id": row.id, "round": row.round, "arm": row.arm, "attempt": row.attempt}
    return "step.failed", {**fact, "was": row.former_state, "error": error}
