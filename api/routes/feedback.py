"""POST /v1/tasks/{id}/feedback: a client reports that the cache returned the wrong result for its task."""

from flask import Blueprint, Response, jsonify
from marshmallow import fields, validate

from api.middleware import body, context
from api.middleware.auth import requires
from api.middleware.task_access import find_task
from api.schemas.fields import TrimmedText
from api.schemas.operation import describes
from api.schemas.requests import RequestSchema, read
from api.schemas.responses import ResponseSchema, one_of, task_id_field
from orchestrator.auth.credential import Principal

_EXAMPLES = {"another task's result": {"verdict": "wrong_hit", "comment": "that was build 6"}}

blueprint = Blueprint("feedback", __name__, url_prefix="/v1/tasks")


class FeedbackRequestSchema(RequestSchema):
    """A client's verdict on a result."""

    verdict = fields.String(required=True, validate=validate.OneOf(["wrong_hit"]))
    comment = TrimmedText(load_default="", validate=validate.Length(max=500))


class FeedbackReplySchema(ResponseSchema):
    """The effect of a report: `source_task_id`'s result is no longer reused; `layer_off`: its layer was disabled."""

    task_id = task_id_field()
    verdict = fields.String()
    layer = one_of("exact", "alias")
    source_task_id = fields.String(allow_none=True)
    layer_off = fields.Boolean()


_FEEDBACK = FeedbackRequestSchema()


@blueprint.post("/<task_id>/feedback")
@describes(
    {200: FeedbackReplySchema},
    409,
    body=FeedbackRequestSchema,
    examples=_EXAMPLES,
    audit_action="task.feedback",
)
@requires("task:submit")
def report(principal: Principal, task_id: str) -> Response:
    """Report that a task got a wrong cached result: the result is no longer reused, and its layer may be disabled."""
    task = find_task(principal, task_id)
    feedback = read(_FEEDBACK, body.read_object())
    withdrawn = context.orchestrator().report_wrong_hit(
        tenant=principal.tenant, task_id=task.id, reason=feedback["comment"]
    )
    return jsonify(
        {
            "task_id": task.id,
            "verdict": feedback["verdict"],
            "layer": withdrawn.layer,
            "source_task_id": withdrawn.source_task_id,
            "layer_off": withdrawn.switched_off,
        }
    )
