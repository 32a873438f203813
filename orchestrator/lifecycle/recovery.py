"""What time does to a task: a deadline passes, a lease runs out, an owner gives its work back."""

from sqlalchemy import Connection, Engine

from orchestrator.cache import coalescing
from orchestrator.chord.database import in_transaction
from orchestrator.lifecycle.ending import Ended, end_task, task_error, with_locked_task
from orchestrator.memory import events, steps, tasks
from orchestrator.memory.steps import Reclaimed
from orchestrator.memory.tasks import LockedTask
from orchestrator.models.execution_state import TaskStatus


def end_at_deadline(engine: Engine, task_id: str) -> Ended | None:
    """End a task whose deadline has passed, keeping what was finished; None when it was not due or had ended."""
    return with_locked_task(engine, task_id, _end_at_deadline)


def settle_leaderless(engine: Engine, leader_id: str) -> bool:
    """Let the oldest follower of an ended leader run in its place; tell whether there was one."""

    def heal(conn: Connection) -> bool:
        leader = tasks.lock_task(conn, leader_id)
        if leader is None or leader.finished_at is None:
            return False
        return coalescing.promote(conn, leader_id, coalescing.lock_followers(conn, leader_id)) is not None

    return in_transaction(engine, heal)


def expire_lease(engine: Engine, step_id: str, *, task_id: str) -> Reclaimed | None:
    """Take a row from an owner who did not renew; None when he did, or the row has ended."""

    def heal(conn: Connection) -> Reclaimed | None:
        tasks.lock_task(conn, task_id)
        return _tell(conn, steps.expire(conn, step_id), reason="lease_expired")

    return in_transaction(engine, heal)


def hand_back(engine: Engine, step_id: str, *, task_id: str, owner: str, died: bool) -> Reclaimed | None:
    """Give back what `owner` holds, at once; None when he does not hold it. `died` counts against the row."""

    def give(conn: Connection) -> Reclaimed | None:
        tasks.lock_task(conn, task_id)
        row = steps.hand_back(conn, step_id, owner=owner, kills=int(died))
        return _tell(conn, row, reason="worker_lost" if died else "handed_back")

    return in_transaction(engine, give)


def _tell(conn: Connection, row: Reclaimed | None, *, reason: str) -> Reclaimed | None:
    if row is not None:
        fact = {
            "step": row.name,
            "step_id": row.id,
            "round": row.round,
            "arm": row.arm,
            "attempt": row.attempt,
            "kills": row.kills,
            "worker": row.owner,
            "reason": reason,
        }
        attempt = {**fact, "outcome": reason}
        events.write(
            conn,
            row.task_id,
            [("step.retrying", fact)],
            round_number=row.round,
            decisions={"attempt": attempt},
        )
    return row


def _end_at_deadline(conn: Connection, task: LockedTask) -> Ended | None:
    if task.finished_at is not None or not task.is_past_deadline:
        return None
    message = f"The task did not end before its deadline, {task.deadline_at.isoformat()}."
    error = task_error("deadline_exceeded", code="deadline_exceeded", message=message, retryable=True)
    return end_task(conn, task, status=TaskStatus.FAILED, error=error)
