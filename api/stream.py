"""A task's numbered events over HTTP, from any number on."""

from flask import Blueprint, Flask, Response, jsonify, request

from api import current, replies, schemas
from api.auth import requires
from api.tasks import find
from orchestrator.credential import Principal
from orchestrator.store import events
from orchestrator.store.engine import statement

blueprint = Blueprint("stream", __name__, url_prefix="/v1/tasks")


def install(app: Flask) -> None:
    """Add the endpoints."""
    app.register_blueprint(blueprint)


@blueprint.get("/<task_id>/events")
@requires("task:read")
def read(principal: Principal, task_id: str) -> Response:
    """Answer the events after number `after`; each number comes once, and none is left out."""
    query = schemas.read(schemas.EVENTS, request.args)
    task = find(principal, task_id)
    with statement(current.orchestrator().engine) as conn:
        found = events.read(conn, task.id, after=query["after"], limit=query["limit"])
    return jsonify(replies.events(task, found, after=query["after"]))
