"""One step of a task in one round: schemas and the serializer."""

from typing import Any
from urllib.parse import quote

from marshmallow import Schema, fields, validate

from api.schemas.fields import Timestamp
from api.schemas.requests import MAX_PAGE, MAX_SEQ
from api.schemas.responses import ResponseSchema, one_of, task_id_field
from api.schemas.trace import DecisionReplySchema
from orchestrator.lifecycle.step_account import QuestionAsked
from orchestrator.lifecycle.step_details import InputReference, LoopItems, Shown, StepDetails
from orchestrator.memory.step_details import StepRow
from orchestrator.models.execution_state import StepKind, StepState
from orchestrator.models.loop import MAX_ITEMS, MEMBER


class StepQuerySchema(Schema):
    """The round (without it the latest one), and which items of a step with for_each: `limit` after index `after`."""

    round = fields.Integer(load_default=None, validate=validate.Range(0, MAX_SEQ))
    after = fields.Integer(load_default=-1, validate=validate.Range(-1, MAX_ITEMS))
    limit = fields.Integer(load_default=50, validate=validate.Range(1, MAX_PAGE))


class ShownSchema(ResponseSchema):
    """A JSON value; of one that is too large, `value` is null and `preview` is the beginning of its JSON text.

    `href` is where the whole value can be downloaded, if a file holds it.
    """

    value = fields.Raw(allow_none=True)
    size_bytes = fields.Integer()
    preview = fields.String(allow_none=True)
    artifact_id = fields.String(attribute="artifact", allow_none=True)
    href = fields.String(allow_none=True)


class StepPlaceSchema(ResponseSchema):
    """A step of a task in one round."""

    task_id = task_id_field()
    step_id = fields.String()
    round = fields.Integer()


class InputReferenceSchema(ResponseSchema):
    """A place of the inputs (a JSON pointer) that takes what `pointer` names in a step's output; `from`: that row."""

    path = fields.String()
    step_id = fields.String(attribute="step")
    pointer = fields.String()
    source = fields.Nested(StepPlaceSchema, allow_none=True, data_key="from")


class AttemptAccountSchema(ResponseSchema):
    """One attempt; `waited_ms` is the time in the queue before it, `delay_seconds` how long the next was put off."""

    attempt = fields.Integer()
    worker = fields.String(allow_none=True)
    started_at = Timestamp(allow_none=True)
    ended_at = Timestamp(allow_none=True)
    waited_ms = fields.Integer(allow_none=True)
    duration_ms = fields.Integer(allow_none=True)
    outcome = fields.String(allow_none=True)
    error = fields.Raw(allow_none=True)
    delay_seconds = fields.Float(allow_none=True)
    usage = fields.Dict()
    provenance = fields.Dict()


class PromptUsedSchema(ResponseSchema):
    """A prompt; `sha256` is that of its text, null if this server has another version of it."""

    name = fields.String()
    version = fields.String(allow_none=True)
    sha256 = fields.String(allow_none=True)


class QuestionAskedSchema(ResponseSchema):
    """A question to models; `id` is that of the decision in the trace, `calls` are the requests that were sent.

    `failover`: more than one model was tried. `corrections` counts the answers that did not fit and were asked again.
    """

    id = fields.Integer()
    asked_at = Timestamp()
    attempt = fields.Integer(allow_none=True)
    prompt = fields.Nested(PromptUsedSchema)
    work = fields.String(allow_none=True)
    provider = fields.String(allow_none=True)
    model = fields.String(allow_none=True)
    fake = fields.Boolean()
    finish = fields.String(allow_none=True)
    form = fields.String(allow_none=True)
    input_tokens = fields.Integer(allow_none=True)
    output_tokens = fields.Integer(allow_none=True)
    cost_dollars = fields.String(allow_none=True)
    error = fields.String(allow_none=True)
    failover = fields.Boolean()
    corrections = fields.Integer()
    calls = fields.List(fields.Raw())


class LogLineSchema(ResponseSchema):
    """One line of a step's log."""

    timestamp = Timestamp(attribute="at", allow_none=True)
    source = one_of("event", "decision", "model", "stdout", "stderr")
    attempt = fields.Integer(allow_none=True)
    text = fields.String()


class StepFileSchema(ResponseSchema):
    """A file that the output names."""

    name = fields.String()
    artifact_id = fields.String()
    media_type = fields.String()
    size_bytes = fields.Integer()
    href = fields.String()


class StepApprovalSchema(ResponseSchema):
    """What a person was asked about the step, and decided."""

    approval_id = fields.String(attribute="id")
    kind = fields.String()
    state = fields.String()
    ask = fields.String()
    by = fields.String(attribute="assignee", allow_none=True)
    decided_by = fields.String(allow_none=True)
    decided_at = Timestamp(allow_none=True)
    comment = fields.String()
    expires_at = Timestamp()


class ItemSchema(ResponseSchema):
    """An item of a step with for_each; a large `item` is the beginning of its JSON text."""

    step_id = fields.String(attribute="name")
    index = fields.Integer(attribute="place")
    item = fields.Raw(allow_none=True)
    status = fields.String(attribute="state")
    attempt = fields.Integer()
    summary = fields.String(allow_none=True)
    error = fields.Raw(allow_none=True)
    reused_from = fields.String(allow_none=True)
    started_at = Timestamp(allow_none=True)
    finished_at = Timestamp(allow_none=True)


class ItemPageSchema(ResponseSchema):
    """The items of a step by state, and a page of them; request the next with after = `next_after`."""

    counts = fields.Dict(keys=fields.String(), values=fields.Integer())
    items = fields.List(fields.Nested(ItemSchema))
    next_after = fields.Integer(allow_none=True)


class StepDetailsSchema(ResponseSchema):
    """One step of a task in one round: inputs, attempts, output, calls to models, decisions and a log.

    `round` is that of its row, which a later round may have kept; `rounds` are all in which it has one. `part` is
    spread, item or gather of a step with for_each. `resolved` are
    the inputs with what they refer to; null with `unresolved`, which says why. `is_complete` is false if events or
    decisions were left out.
    """

    task_id = task_id_field()
    step_id = fields.String()
    row_id = fields.String()
    kind = one_of(*(kind.value for kind in StepKind))
    part = fields.String(allow_none=True)
    round = fields.Integer()
    rounds = fields.List(fields.Integer())
    arm_id = fields.String()
    action = fields.String(allow_none=True)
    description = fields.String()
    status = one_of(*(state.value for state in StepState))
    attempt = fields.Integer()
    worker = fields.String(allow_none=True)
    depends_on = fields.List(fields.String())
    optional = fields.Boolean()
    feedback = fields.String(allow_none=True)
    when = fields.Raw(allow_none=True)
    for_each = fields.Raw(allow_none=True)
    acceptance_criteria = fields.List(fields.Raw())
    queued_at = Timestamp(allow_none=True)
    started_at = Timestamp(allow_none=True)
    finished_at = Timestamp(allow_none=True)
    reused_from = fields.Nested(StepPlaceSchema, allow_none=True)
    inputs = fields.Nested(ShownSchema)
    references = fields.List(fields.Nested(InputReferenceSchema))
    resolved = fields.Nested(ShownSchema, allow_none=True)
    unresolved = fields.String(allow_none=True)
    output = fields.Nested(ShownSchema, allow_none=True)
    error = fields.Raw(allow_none=True)
    warnings = fields.List(fields.String())
    evidence = fields.List(fields.Raw())
    usage = fields.Dict()
    provenance = fields.Dict()
    files = fields.List(fields.Nested(StepFileSchema))
    attempts = fields.List(fields.Nested(AttemptAccountSchema))
    model_calls = fields.List(fields.Nested(QuestionAskedSchema))
    approval = fields.Nested(StepApprovalSchema, allow_none=True)
    decisions = fields.List(fields.Nested(DecisionReplySchema))
    log = fields.List(fields.Nested(LogLineSchema))
    items = fields.Nested(ItemPageSchema, allow_none=True)
    is_complete = fields.Boolean()
    links = fields.Dict(keys=fields.String(), values=fields.String())


_STEP = StepDetailsSchema()
_OF_RECORD = (
    "work", "provider", "model", "finish", "form", "input_tokens", "output_tokens", "cost_dollars", "error"
)  # fmt: skip


def step_details_reply(task_id: str, details: StepDetails) -> dict[str, Any]:
    """Return a step's details in the shape that clients get."""
    row, result = details.row, details.row.result or {}
    spec = row.spec
    path = f"/v1/tasks/{task_id}"
    return _STEP.to_json(
        {
            **{member: spec.get(member) for member in ("action", "feedback", "when", "for_each")},
            **vars(row),
            "task_id": task_id,
            "step_id": row.name,
            "row_id": row.id,
            "part": spec.get(MEMBER),
            "arm_id": spec.get("arm", row.arm),
            "description": spec.get("description", ""),
            "status": row.state,
            "worker": row.owner,
            "depends_on": spec.get("depends_on", []),
            "optional": spec.get("optional", False),
            "acceptance_criteria": spec.get("acceptance_criteria", []),
            "reused_from": _origin(row),
            "inputs": _shown(details.inputs),
            "references": [_reference(one) for one in details.references],
            "resolved": _shown(details.resolved),
            "unresolved": details.unresolved,
            "output": _shown(details.output),
            "error": result.get("error"),
            "warnings": result.get("warnings", []),
            "evidence": details.evidence,
            "usage": result.get("usage", {}),
            "provenance": result.get("provenance", {}),
            "files": [{**file.to_record(), "href": _file(file.artifact_id)} for file in details.files],
            "attempts": details.attempts,
            "model_calls": [_question(one) for one in details.questions],
            "approval": details.approval,
            "decisions": details.decisions,
            "log": details.log,
            "items": _items(details.items),
            "is_complete": details.is_complete,
            "links": {
                "self": f"{path}/steps/{quote(row.name, safe='')}?round={row.round}",
                "task": path,
                "trace": f"{path}/trace",
            },
        }
    )


def _shown(value: Shown | None) -> dict[str, Any] | None:
    if value is None:
        return None
    return {**vars(value), "href": _file(value.artifact) if value.artifact else None}


def _file(artifact_id: str) -> str:
    return f"/v1/files/{artifact_id}"


def _origin(row: StepRow) -> dict[str, Any] | None:
    if row.origin_task is None:
        return None
    return {"task_id": row.origin_task, "step_id": row.origin_name, "round": row.origin_round}


def _reference(reference: InputReference) -> dict[str, Any]:
    row = reference.row
    source = row and {"task_id": row.task_id, "step_id": row.name, "round": row.round}
    return {**vars(reference), "source": source}


def _question(asked: QuestionAsked) -> dict[str, Any]:
    record = asked.record
    return {
        **{name: record.get(name) for name in _OF_RECORD},
        **vars(asked),
        "fake": bool(record.get("fake")),
        "calls": record.get("attempts") or [],
    }


def _items(items: LoopItems | None) -> dict[str, Any] | None:
    if items is None:
        return None
    total, page = sum(items.counts.values()), items.page
    last = page[-1].place if page else None
    goes_on = last is not None and last + 1 < total
    return {"counts": items.counts, "items": page, "next_after": last if goes_on else None}
