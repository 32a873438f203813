"""The status of a task and of its steps: schemas and serializers that the task endpoints share."""

from collections.abc import Sequence
from typing import Any

from marshmallow import fields, validate

from api.schemas.fields import Timestamp
from api.schemas.responses import ResponseSchema, one_of, status_field, task_id_field
from orchestrator.memory.task_lists import TaskLine
from orchestrator.memory.tasks import OpenApproval, StepRecord, TaskRecord, Waits
from orchestrator.models.approval import ApprovalKind
from orchestrator.models.execution_state import Phase, StepState, TaskStatus
from orchestrator.models.task_contract import Priority
from orchestrator.observability import tracing

NOT_WAITING = Waits()
_PERCENT = validate.Range(0, 100)


def _priority_field() -> fields.String:
    return one_of(*(priority.value for priority in Priority))


def _phase_field() -> fields.String:
    return one_of(*(phase.value for phase in Phase))


class ProgressSchema(ResponseSchema):
    """How far a task is; `percentage` never decreases."""

    current_step = one_of(*dict.fromkeys(phase.current_step for phase in Phase))
    completed_steps = fields.Integer()
    total_steps = fields.Integer()
    percentage = fields.Integer(validate=_PERCENT)


class ResultSchema(ResponseSchema):
    """The result of a task: the answer, `output` as text and `data` as JSON values; `summary` is what each step did.

    `answered_by`: the plan names the answer, the last step gives it, a model wrote it from the outputs, or there is
    only the summary.

    `coverage` is the share of the required criteria that were checked. `confidence` is how likely the result is
    right: 1 when rules show that every required criterion is met, 0 when it was rejected or nothing measured it.
    """

    output = fields.String()
    summary = fields.String()
    answered_by = one_of("plan", "step", "model", "summary")
    coverage = fields.Float(allow_none=True, validate=validate.Range(0, 1))
    confidence = fields.Float(validate=validate.Range(0, 1))
    validation_passed = fields.Boolean()
    data = fields.Raw(allow_none=True)
    artifacts = fields.List(fields.Raw())
    warnings = fields.List(fields.String())
    # Schema has an attribute `partial`
    is_partial = fields.Boolean(attribute="partial", data_key="partial")


class FailureSchema(ResponseSchema):
    """Why a task failed or was cancelled."""

    type = fields.String()
    code = fields.String()
    message = fields.String()
    details = fields.String(allow_none=True)
    retryable = fields.Boolean()


class CacheReplySchema(ResponseSchema):
    """Source of a cached or coalesced result; `age_seconds` is set on a hit."""

    layer = one_of("coalesced", "exact", "alias")
    source_task_id = fields.String()
    age_seconds = fields.Float()


class MetadataSchema(ResponseSchema):
    """What a task used; present once it has ended."""

    arms_used = fields.List(fields.String())
    tokens_used = fields.Integer()
    cost_dollars = fields.Float(allow_none=True)
    duration_seconds = fields.Float()
    cache_hit = fields.Boolean()
    plan_id = fields.String(allow_none=True)
    repairs = fields.Integer()
    replans = fields.Integer()


class StepSchema(ResponseSchema):
    """A step of the plan, in its latest round; `reused_from` is the earlier task whose result it reuses.

    `items` counts the items of a step with for_each by their status; null for other steps, and before it has any.
    """

    step_id = fields.String()
    arm_id = fields.String()
    action = fields.String()
    description = fields.String()
    status = one_of(*(state.value for state in StepState))
    round = fields.Integer()
    attempt = fields.Integer()
    reused_from = fields.String(allow_none=True)
    depends_on = fields.List(fields.String())
    optional = fields.Boolean()
    items = fields.Dict(keys=fields.String(), values=fields.Integer(), allow_none=True)
    summary = fields.String(allow_none=True)
    error = fields.Raw(allow_none=True)
    warnings = fields.List(fields.String())
    queued_at = Timestamp(allow_none=True)
    started_at = Timestamp(allow_none=True)
    finished_at = Timestamp(allow_none=True)
    duration_ms = fields.Integer(allow_none=True)


class TaskSummarySchema(ResponseSchema):
    """A task in a list; `waiting` is the number of its pending approvals, a cost of null is unknown.

    `schedule_id` is the schedule that started it, for its time `scheduled_at`; null for other tasks.
    """

    task_id = task_id_field()
    status = status_field()
    phase = _phase_field()
    goal = fields.String()
    priority = _priority_field()
    percentage = fields.Integer(validate=_PERCENT)
    completed_steps = fields.Integer()
    total_steps = fields.Integer()
    waiting = fields.Integer()
    tokens_used = fields.Integer()
    cost_dollars = fields.Float(allow_none=True)
    created_at = Timestamp()
    updated_at = Timestamp()
    completed_at = Timestamp(allow_none=True)
    failed_at = Timestamp(allow_none=True)
    schedule_id = fields.String(allow_none=True)
    scheduled_at = Timestamp(allow_none=True)
    processing_time_ms = fields.Integer(allow_none=True)


class OpenApprovalSchema(ResponseSchema):
    """What a person is asked about a step, by whom it should be decided, and until when."""

    approval_id = fields.String(attribute="id")
    step_id = fields.String(attribute="step")
    kind = one_of(*(kind.value for kind in ApprovalKind))
    ask = fields.String()
    by = fields.String(attribute="assignee", allow_none=True)
    expires_at = Timestamp()


class StatusSchema(ResponseSchema):
    """A task: its progress, its result, and its steps; `retry_of` is the task that it repeats.

    `schedule_id` is the schedule that started it, for its time `scheduled_at`.

    `waiting_for` names arms with queued steps that no worker serves now, `approvals` what a person is asked; `message`
    says the same in words. `event_seq` is the number of the task's last event: the steps are as they were after it.
    `trace_id` names the task's trace in OpenTelemetry; null where traces are off.
    """

    task_id = task_id_field()
    status = status_field()
    event_seq = fields.Integer()
    phase = _phase_field()
    goal = fields.String()
    priority = _priority_field()
    progress = fields.Nested(ProgressSchema)
    waiting_for = fields.List(fields.String())
    approvals = fields.List(fields.Nested(OpenApprovalSchema))
    message = fields.String(allow_none=True)
    retry_of = fields.String(allow_none=True)
    trace_id = fields.String(allow_none=True)
    schedule_id = fields.String(allow_none=True)
    scheduled_at = Timestamp(allow_none=True)
    result = fields.Nested(ResultSchema, allow_none=True)
    error = fields.Nested(FailureSchema, allow_none=True)
    metadata = fields.Nested(MetadataSchema, allow_none=True)
    cache = fields.Nested(CacheReplySchema, allow_none=True)
    steps = fields.List(fields.Nested(StepSchema))
    created_at = Timestamp()
    updated_at = Timestamp()
    completed_at = Timestamp(allow_none=True)
    failed_at = Timestamp(allow_none=True)
    processing_time_ms = fields.Integer(allow_none=True)


_STATUS = StatusSchema()
_SUMMARY = TaskSummarySchema()


def task_status(
    task: TaskRecord, *, steps: Sequence[StepRecord], waits: Waits = NOT_WAITING
) -> dict[str, Any]:
    """Return the status of a task, with what it waits for."""
    seconds = _duration_seconds(task)
    progress = {
        "current_step": Phase(task.phase).current_step,
        "completed_steps": sum(step.state == StepState.DONE for step in steps),
        "total_steps": len(steps),
        "percentage": task.percentage,
    }
    return _STATUS.to_json(
        {
            **_summary(task),
            "event_seq": task.event_seq,
            "progress": progress,
            "waiting_for": waits.arms,
            "approvals": waits.approvals,
            "message": waiting_message(waits),
            "retry_of": task.retry_of,
            "trace_id": tracing.trace_id_of(task.id, task.trace_context),
            # results of release 0.1 have no coverage, those of 0.3 no summary
            "result": task.result
            and {"coverage": None, "summary": task.result["output"], "answered_by": "summary", **task.result},
            "error": task.error,
            "metadata": None if seconds is None else _metadata(task, steps, seconds),
            "cache": task.cache,
            "steps": [step_reply(step) for step in steps],
            "processing_time_ms": _duration_ms(task),
        }
    )


def waiting_message(waits: Waits) -> str | None:
    """Return in words what a task waits for; None if it waits for nothing that is known."""
    arms = (f"waiting for arm {arm}" for arm in waits.arms)
    return "; ".join([*arms, *map(_wait, waits.approvals)]) or None


def _wait(asked: OpenApproval) -> str:
    until = asked.expires_at.isoformat(timespec="seconds")
    what = "an answer" if asked.kind == ApprovalKind.QUESTION else "approval"
    by = f" by {asked.assignee}" if asked.assignee else ""
    return f"step {asked.step} is waiting for {what}{by} until {until}"


def task_summary(task: TaskLine) -> dict[str, Any]:
    """Return a task as lists show it."""
    return _SUMMARY.to_json({**vars(task), **_summary(task), "processing_time_ms": _duration_ms(task)})


def step_reply(step: StepRecord) -> dict[str, Any]:
    """Return the members of StepSchema for a step."""
    result = step.result or {}
    output = result.get("output")
    duration = step.finished_at - step.started_at if step.finished_at and step.started_at else None
    return {
        "step_id": step.name,
        "arm_id": step.spec.get("arm", step.arm),
        "action": step.spec["action"],
        "description": step.spec["description"],
        "status": step.state,
        "round": step.round,
        "attempt": step.attempt,
        "reused_from": step.reused_from,
        "depends_on": step.spec["depends_on"],
        "optional": step.spec["optional"],
        "items": step.items,
        "summary": output.get("summary") if isinstance(output, dict) else None,
        "error": result.get("error"),
        "warnings": result.get("warnings", []),
        "queued_at": step.queued_at,
        "started_at": step.started_at,
        "finished_at": step.finished_at,
        "duration_ms": round(duration.total_seconds() * 1000) if duration else None,
    }


def _summary(task: TaskRecord | TaskLine) -> dict[str, Any]:
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
        "schedule_id": task.schedule_id,
        "scheduled_at": task.scheduled_at,
    }


def _metadata(task: TaskRecord, steps: Sequence[StepRecord], seconds: float) -> dict[str, Any]:
    return {
        "arms_used": _arms_used(task, steps),
        "tokens_used": task.tokens_used,
        "cost_dollars": task.cost_dollars,
        "duration_seconds": round(seconds, 3),
        "cache_hit": task.cache is not None and task.status == TaskStatus.COMPLETED,
        "plan_id": task.plan_id,
        "repairs": task.round - task.plans,
        "replans": max(task.plans - 1, 0),
    }


def _arms_used(task: TaskRecord, steps: Sequence[StepRecord]) -> list[str]:
    """Return the arms that ran: the planner if there is a plan, the judge unless the result is partial.

    A task that reuses another task's result used none.
    """
    if task.cache is not None:
        return []
    arms = ["planner"] if task.plan_id else []
    arms += [step.arm for step in steps if step.attempt > 0]
    if task.result is not None and not task.result["partial"]:
        arms.append("judge")
    return list(dict.fromkeys(arms))


def _duration_seconds(task: TaskRecord | TaskLine) -> float | None:
    return (task.finished_at - task.created_at).total_seconds() if task.finished_at else None


def _duration_ms(task: TaskRecord | TaskLine) -> int | None:
    seconds = _duration_seconds(task)
    return None if seconds is None else round(seconds * 1000)
