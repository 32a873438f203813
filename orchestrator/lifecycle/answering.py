"""Completes a task with a result that another task made, where a planner would have planned it."""

from sqlalchemy import Connection

from orchestrator.cache.admission import Admission
from orchestrator.cache.flight import Source
from orchestrator.execution_state import StepState, TaskStatus
from orchestrator.lifecycle.ending import Ended, end_task
from orchestrator.lifecycle.rounds import finish_row, open_task
from orchestrator.store.steps import Claim


def complete_by(conn: Connection, claim: Claim, source: Source, *, layer: str) -> Ended:
    """Complete a task in the planner's own transaction with a result that another task made.

    Raises Refused like `adopt`.
    """
    task = open_task(conn, claim)
    finish_row(conn, claim, StepState.DONE, {"source_task_id": source.source_id})
    cache = {
        "layer": layer,
        "source_task_id": source.source_id,
        "age_seconds": round(source.age_seconds, 3),
    }
    return end_task(
        conn,
        task,
        status=TaskStatus.COMPLETED,
        result=source.result,
        facts=[("task.cache", cache)],
        decisions={"cache": {**cache, "outcome": "hit"}},
        admission=Admission(is_shared=True),
        cache=cache,
    )
