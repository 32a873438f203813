"""The endpoints that cancel a task: DELETE /v1/tasks/{id} and POST /v1/tasks/{id}/cancel."""

from flask import Blueprint, Response, jsonify
from marshmallow import fields, validate

from api.middleware import body, context
from api.middleware.auth import requires
from api.middleware.task_access import find_task, read_status
from api.schemas.fields import TrimmedText
from api.schemas.operation import describes
from api.schemas.requests import RequestSchema, read
from api.schemas.responses import ResponseSchema
from api.schemas.task_status import StatusSchema
from orchestrator.auth.credential import Principal
from orchestrator.models.execution_state import StepKind

_EXAMPLES = {"with a reason": {"reason": "not needed any more"}}

# operation ids and the label `endpoint` of metrics contain the name
blueprint = Blueprint("control", __name__, url_prefix="/v1/tasks")


class CancelRequestSchema(RequestSchema):
    """Why the task is cancelled."""

    reason = TrimmedText(load_default="", validate=validate.Length(max=500))


class StoppedStepSchema(ResponseSchema):
    """A step that the cancellation stopped; `was` is its state before."""

    step_id = fields.String(attribute="name")
    arm_id = fields.String(attribute="arm")
    was = fields.String(
        attribute="former_state", validate=validate.OneOf(["running", "queued", "waiting", "held", "blocked"])
    )
    attempt = fields.Integer()


class CancelledSchema(StatusSchema):
    """A cancelled task and the steps that were stopped; none if it was cancelled before."""

    stopped = fields.List(fields.Nested(StoppedStepSchema))


_CANCEL = CancelRequestSchema()
_STOPPED = StoppedStepSchema()


@blueprint.delete("/<task_id>")
@describes({200: CancelledSchema}, 409, audit_action="task.cancel")
@requires("task:cancel")
def delete(principal: Principal, task_id: str) -> Response:
    """Cancel a task; calling again is safe; 409 if the task has ended otherwise."""
    return _cancel(principal, task_id, reason="")


@blueprint.post("/<task_id>/cancel")
@describes(
    {200: CancelledSchema},
    409,
    body=CancelRequestSchema,
    is_body_required=False,
    examples=_EXAMPLES,
    is_idempotent=True,
    audit_action="task.cancel",
)
@requires("task:cancel")
def cancel(principal: Principal, task_id: str) -> Response:
    """Cancel a task with a reason."""
    given = read(_CANCEL, body.read_optional_object())
    return _cancel(principal, task_id, reason=given["reason"])


def _cancel(principal: Principal, task_id: str, *, reason: str) -> Response:
    task = find_task(principal, task_id)
    cancelled, fenced = context.orchestrator().cancel(tenant=principal.tenant, task_id=task.id, reason=reason)
    stopped = [_STOPPED.to_json(row) for row in fenced if row.kind == StepKind.STEP]
    return jsonify({**read_status(cancelled), "stopped": stopped})
