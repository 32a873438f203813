"""Makes what we answer about tasks of their records; api.schemas.responses declares the members."""

from collections.abc import Mapping, Sequence
from typing import Any, cast

from marshmallow import Schema

from api.schemas.responses import (
    Accepted,
    DeadStep,
    DecisionReply,
    EventReply,
    Status,
    Step,
    StoppedStep,
    TaskSummary,
)
from orchestrator.lifecycle.submission import Submitted
from orchestrator.memory.dead_letters import DeadLetter
from orchestrator.memory.events import Event, TraceEntry
from orchestrator.memory.steps import Fenced
from orchestrator.memory.tasks import StepRecord, TaskRecord
from orchestrator.models.execution_state import Phase, StepKind, StepState, TaskStatus

_STATUS = Status()
_STOPPED = StoppedStep()
_SUMMARY = TaskSummary()
_ACCEPTED = Accepted()
_DEAD = DeadStep()
_EVENT = EventReply()
_DECISION = DecisionReply()
_MESSAGES = {
    "hit": "The task is completed by an earlier result.",
    "coalesced": "The same task is under way; its result will be this one's.",
}


def accepted(task: Submitted, *, redacted: Mapping[str, int], retry_of: str | None = None) -> dict[str, Any]:
    """Return the answer to a submission; `redacted` is how many of which kind were taken out of it.

    `retry_of` is the task that it repeats.
    """
    path = f"/v1/tasks/{task.task_id}"
    source = {"retry_of": f"/v1/tasks/{retry_of}"} if retry_of else {}
    return _dump(
        _ACCEPTED,
        {
            "task_id": task.task_id,
            "status": task.status.value,
            "created_at": task.created_at,
            "estimated_completion": None,
            "message": _MESSAGES.get(task.cached.outcome, "The task is queued."),
            "cache": task.cached if task.cached.layer else None,
            "redacted": redacted,
            "links": {"self": path, "events": f"{path}/events", "trace": f"{path}/trace", **source},
        },
    )


def task_status(
    task: TaskRecord, *, steps: Sequence[StepRecord], waiting_for: Sequence[str] = ()
) -> dict[str, Any]:
    """Return the status of a task; `waiting_for` names arms whose queued work no worker can take now."""
    seconds = _seconds(task)
    progress = {
        "current_step": Phase(task.phase).current_step,
        "completed_steps": sum(step.state == StepState.DONE for step in steps),
        "total_steps": len(steps),
        "percentage": task.percentage,
    }
    view = {
        **_summary(task),
        "progress": progress,
        "waiting_for": waiting_for,
        "message": "; ".join(f"waiting for arm {arm}" for arm in waiting_for) or None,
        "retry_of": task.retry_of,
        # release 0.1 told no coverage
        "result": task.result and {"coverage": None, **task.result},
        "error": task.error,
        "metadata": None if seconds is None else _metadata(task, steps, seconds),
        "cache": task.cache,
        "steps": [_step(step) for step in steps],
        "processing_time_ms": None if seconds is None else round(seconds * 1000),
    }
    return _dump(_STATUS, view)


def stopped(rows: Sequence[Fenced]) -> list[dict[str, Any]]:
    """Return the steps that a cancel stopped; empty when it found none, or the task was cancelled before."""
    return [_dump(_STOPPED, row) for row in rows if row.kind == StepKind.STEP]


def task_list(tasks: Sequence[TaskRecord], *, next_cursor: str | None) -> dict[str, Any]:
    """Return a page of tasks; `next_cursor` is None on the last one."""
    return {"tasks": [_dump(_SUMMARY, _summary(task)) for task in tasks], "next_cursor": next_cursor}


def dead_list(found: Sequence[DeadLetter], *, next_cursor: str | None) -> dict[str, Any]:
    """Return a page of steps that were given up; `next_cursor` is None on the last one."""
    views = [{**vars(one), "links": _dead_links(one)} for one in found]
    return {"steps": [_dump(_DEAD, view) for view in views], "next_cursor": next_cursor}


def _dead_links(letter: DeadLetter) -> dict[str, str]:
    path = f"/v1/tasks/{letter.task_id}"
    return {"task": path, "trace": f"{path}/trace", "retry": f"{path}/retry"}


def events(task: TaskRecord, found: Sequence[Event], *, after: int) -> dict[str, Any]:
    """Return a page of events; the next one is asked for with after = `next_after`."""
    return {
        "task_id": task.id,
        "status": task.status,
        "events": [event(one) for one in found],
        "next_after": found[-1].seq if found else after,
    }


def event(found: Event) -> dict[str, Any]:
    """Return an event, in the one form that pages, WebSockets and SSE share."""
    return _dump(_EVENT, found)


def trace(
    task: TaskRecord, *, steps: Sequence[StepRecord], decisions: Sequence[TraceEntry], after: int
) -> dict[str, Any]:
    """Return what was asked, what each step answered, and a page of the decisions between the two."""
    return {
        "task_id": task.id,
        "status": task.status,
        "contract": task.contract,
        "steps": [{**_dump(Step(), _step(step)), "result": step.result} for step in steps],
        "decisions": [_dump(_DECISION, decision) for decision in decisions],
        "next_after": decisions[-1].id if decisions else after,
    }


def _summary(task: TaskRecord) -> dict[str, Any]:
    completed = task.status == TaskStatus.COMPLETED
    failed = task.status == TaskStatus.FAILED
    return {
        "task_id": task.id,
        "status": task.status,
        "phase": task.phase,
        "goal": task.goal,
        "priority": task.priority,
        "percentage": task.percentage,
        "created_at": task.created_at,
        "updated_at": task.updated_at,
        "completed_at": task.finished_at if completed else None,
        "failed_at": task.finished_at if failed else None,
    }


def _metadata(task: TaskRecord, steps: Sequence[StepRecord], seconds: float) -> dict[str, Any]:
    return {
        "arms_used": _arms_used(task, steps),
        "tokens_used": task.tokens_used,
        "cost_dollars": task.cost_dollars or 0,
        "duration_seconds": round(seconds, 3),
        "cache_hit": task.cache is not None and task.status == TaskStatus.COMPLETED,
        "plan_id": task.plan_id,
        "repairs": max(task.round - 1, 0),
    }


def _arms_used(task: TaskRecord, steps: Sequence[StepRecord]) -> list[str]:
    """Return the arms that worked: the planner made the plan, the judge any result that is not partial.

    None worked for a result that another task made.
    """
    if task.cache is not None:
        return []
    arms = ["planner"] if task.plan_id else []
    arms += [step.arm for step in steps if step.attempt > 0]
    if task.result is not None and not task.result["partial"]:
        arms.append("judge")
    return list(dict.fromkeys(arms))


def _seconds(task: TaskRecord) -> float | None:
    return (task.finished_at - task.created_at).total_seconds() if task.finished_at else None


def _step(step: StepRecord) -> dict[str, Any]:
    result = step.result or {}
    output = result.get("output")
    duration = step.finished_at - step.started_at if step.finished_at and step.started_at else None
    return {
        "step_id": step.name,
        "arm_id": step.arm,
        "action": step.spec["action"],
        "description": step.spec["description"],
        "status": step.state,
        "round": step.round,
        "attempt": step.attempt,
        "reused_from": step.reused_from,
        "depends_on": step.spec["depends_on"],
        "optional": step.spec["optional"],
        "summary": output.get("summary") if isinstance(output, dict) else None,
        "error": result.get("error"),
        "warnings": result.get("warnings", []),
        "queued_at": step.queued_at,
        "started_at": step.started_at,
        "finished_at": step.finished_at,
        "duration_ms": round(duration.total_seconds() * 1000) if duration else None,
    }


def _dump(schema: Schema, view: Any) -> dict[str, Any]:
    return cast(dict[str, Any], schema.dump(view))
