"""What a client may do to a running task: cancel it."""

from flask import Blueprint, Flask, Response, jsonify

from api import body, current, examples, replies, schemas, shapes
from api.auth import requires
from api.operation import describes
from api.status import find, status_of
from orchestrator.credential import Principal

blueprint = Blueprint("control", __name__, url_prefix="/v1/tasks")


def install(app: Flask) -> None:
    """Add the endpoints."""
    app.register_blueprint(blueprint)


@blueprint.delete("/<task_id>")
@describes({200: shapes.Cancelled}, 409)
@requires("task:cancel")
def delete(principal: Principal, task_id: str) -> Response:
    """Cancel a task; a cancelled one stays so, one that ended otherwise is a 409."""
    return _cancel(principal, task_id, reason="")


@blueprint.post("/<task_id>/cancel")
@describes(
    {200: shapes.Cancelled},
    409,
    body=schemas.CancelRequest,
    is_body_required=False,
    examples=examples.CANCELS,
)
@requires("task:cancel")
def cancel(principal: Principal, task_id: str) -> Response:
    """Cancel a task, saying why."""
    request = schemas.read(schemas.CANCEL, body.read_optional_object())
    return _cancel(principal, task_id, reason=request["reason"])


def _cancel(principal: Principal, task_id: str, *, reason: str) -> Response:
    task = find(principal, task_id)
    cancelled, stopped = current.orchestrator().cancel(
        tenant=principal.tenant, task_id=task.id, reason=reason
    )
    return jsonify({**status_of(cancelled), "stopped": replies.stopped(stopped)})
