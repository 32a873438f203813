"""Accepts an attempt's outcome only for an open task, in the claim's round, from the current attempt."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection

from orchestrator.chord.chord import Refused
from orchestrator.memory import steps, tasks
from orchestrator.memory.claims import Claim
from orchestrator.memory.steps import FinishedStep
from orchestrator.memory.tasks import LockedTask
from orchestrator.memory.transitions import Answer
from orchestrator.models.execution_state import StepState


def open_task(conn: Connection, claim: Claim) -> LockedTask:
    """Lock the claim's task; raises Refused when it has ended or is in another round."""
    task = tasks.lock_task(conn, claim.task_id)
    if task is None or task.finished_at is not None:
        raise refusal(claim, Answer.ENDED)
    if task.round != claim.round:
        raise refusal(claim, Answer.MOVED, current_round=task.round)
    return task


def finish_row(conn: Connection, claim: Claim, state: StepState, result: Mapping[str, Any]) -> FinishedStep:
    """Close the claim's row; raises Refused when the claim is not the current one."""
    finished = steps.finish(
        conn, claim.id, chord_id=claim.chord_id, attempt=claim.attempt, state=state, result=result
    )
    if finished is None:
        raise refusal(claim, Answer.STALE)
    return finished


def refusal(claim: Claim, answer: Answer, *, current_round: int | None = None) -> Refused:
    """Return the error for an outcome that is not accepted."""
    if answer is Answer.ENDED:
        return Refused(f"{claim.task_id} has ended")
    if answer is Answer.MOVED:
        return Refused(f"{claim.task_id} is in round {current_round}, not in {claim.round}")
    return Refused(f"attempt {claim.attempt} of step {claim.name} of {claim.task_id} is not the current one")
