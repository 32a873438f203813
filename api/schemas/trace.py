"""A task's trace: schemas of its decisions and steps, and the serializer."""

from collections.abc import Sequence
from typing import Any

from marshmallow import Schema, fields, validate

from api.schemas.fields import Timestamp
from api.schemas.requests import MAX_EVENTS
from api.schemas.responses import ResponseSchema, status_field, task_id_field
from api.schemas.task_status import StepSchema, step_reply
from orchestrator.memory.events import TraceEntry
from orchestrator.memory.tasks import StepRecord, TaskRecord

_MAX_DECISION_ID = 2**63 - 1


class TraceQuerySchema(Schema):
    """Which decisions to read: at most `limit` after id `after`; with results=false each step's result is null."""

    after = fields.Integer(load_default=0, validate=validate.Range(0, _MAX_DECISION_ID))
    limit = fields.Integer(load_default=MAX_EVENTS, validate=validate.Range(1, MAX_EVENTS))
    results = fields.Boolean(load_default=True)


class DecisionReplySchema(ResponseSchema):
    """One decision about a task."""

    id = fields.Integer()
    round = fields.Integer()
    timestamp = Timestamp(attribute="decided_at")
    kind = fields.String()
    data = fields.Raw(attribute="payload")


class TracedStepSchema(StepSchema):
    """A step of the plan with its complete result."""

    result = fields.Raw(allow_none=True)


class TraceSchema(ResponseSchema):
    """A task's contract, each step's result, and a page of the decisions in between."""

    task_id = task_id_field()
    status = status_field()
    contract = fields.Dict()
    steps = fields.List(fields.Nested(TracedStepSchema))
    decisions = fields.List(fields.Nested(DecisionReplySchema))
    next_after = fields.Integer()


_STEP = StepSchema()
_DECISION = DecisionReplySchema()


def decision_reply(decision: TraceEntry) -> dict[str, Any]:
    """Return a decision as the trace shows it."""
    return _DECISION.to_json(decision)


def trace_reply(
    task: TaskRecord,
    steps: Sequence[StepRecord],
    decisions: Sequence[TraceEntry],
    *,
    after: int,
    results: bool,
) -> dict[str, Any]:
    """Return a page of a trace; without `results` those of the steps are null."""
    return {
        "task_id": task.id,
        "status": task.status,
        "contract": task.contract,
        "steps": [
            {**_STEP.to_json(step_reply(step)), "result": step.result if results else None} for step in steps
        ],
        "decisions": [decision_reply(decision) for decision in decisions],
        "next_after": decisions[-1].id if decisions else after,
    }
