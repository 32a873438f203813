"""What a client may do to a running task: cancel it."""

from flask import Blueprint, Flask, Response, jsonify

from api.middleware import body, context
from api.middleware.auth import requires
from api.routes.status import find, status_of
from api.schemas import examples, requests, responses, serializers
from api.schemas.operation import describes
from orchestrator.auth.credential import Principal

blueprint = Blueprint("control", __name__, url_prefix="/v1/tasks")


def install(app: Flask) -> None:
    """Add the endpoints."""
    app.register_blueprint(blueprint)


@blueprint.delete("/<task_id>")
@describes({200: responses.Cancelled}, 409)
@requires("task:cancel")
def delete(principal: Principal, task_id: str) -> Response:
    """Cancel a task; a cancelled one stays so, one that ended otherwise is a 409."""
    return _cancel(principal, task_id, reason="")


@blueprint.post("/<task_id>/cancel")
@describes(
    {200: responses.Cancelled},
    409,
    body=requests.CancelRequest,
    is_body_required=False,
    examples=examples.CANCELS,
)
@requires("task:cancel")
def cancel(principal: Principal, task_id: str) -> Response:
    """Cancel a task, saying why."""
    request = requests.read(requests.CANCEL, body.read_optional_object())
    return _cancel(principal, task_id, reason=request["reason"])


def _cancel(principal: Principal, task_id: str, *, reason: str) -> Response:
    task = find(principal, task_id)
    cancelled, stopped = context.orchestrator().cancel(
        tenant=principal.tenant, task_id=task.id, reason=reason
    )
    return jsonify({**status_of(cancelled), "stopped": serializers.stopped(stopped)})
