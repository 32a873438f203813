"""Hears what clients say of a task's result: that the cache answered it with another task's."""

from flask import Blueprint, Flask, Response, jsonify

from api.middleware import body, context
from api.middleware.auth import requires
from api.routes.status import find
from api.schemas import examples, requests, responses
from api.schemas.operation import describes
from orchestrator.auth.credential import Principal

blueprint = Blueprint("feedback", __name__, url_prefix="/v1/tasks")


def install(app: Flask) -> None:
    """Add the endpoint."""
    app.register_blueprint(blueprint)


@blueprint.post("/<task_id>/feedback")
@describes({200: responses.FeedbackReply}, 409, body=requests.FeedbackRequest, examples=examples.FEEDBACK)
@requires("task:submit")
def report(principal: Principal, task_id: str) -> Response:
    """Say that an earlier result answered a task wrongly: it answers no other any more, and the report counts."""
    task = find(principal, task_id)
    said = requests.read(requests.FEEDBACK, body.read_object())
    withdrawn = context.orchestrator().report_wrong_hit(
        tenant=principal.tenant, task_id=task.id, reason=said["comment"]
    )
    return jsonify(
        {
            "task_id": task.id,
            "verdict": said["verdict"],
            "layer": withdrawn.layer,
            "source_task_id": withdrawn.source_task_id,
            "layer_off": withdrawn.switched_off,
        }
    )
