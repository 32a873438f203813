"""GET /v1/tasks/{task_id}/waiting: says what a task and each of its open steps wait for."""

from flask import Blueprint, Response, jsonify, request
from marshmallow import fields

from api.middleware import context
from api.middleware.auth import requires
from api.middleware.task_access import find_task
from api.schemas.fields import Timestamp
from api.schemas.operation import describes
from api.schemas.responses import ResponseSchema, one_of, status_field, task_id_field
from orchestrator.auth.credential import Principal
from orchestrator.chord.database import statement
from orchestrator.lifecycle.waiting_sentences import WaitKind, sentences
from orchestrator.memory import waiting
from orchestrator.models.execution_state import TaskStatus

blueprint = Blueprint("waiting", __name__, url_prefix="/v1/tasks")


class SentenceSchema(ResponseSchema):
    """What a step waits for, or the task itself, its plan or its verdict if `step_id` is null.

    `until` is when the wait ends at the latest, or when the step is tried again. `by` is who must act: a person, a
    worker, or the task whose result is awaited.
    """

    step_id = fields.String(attribute="step", allow_none=True)
    kind = one_of(*(kind.value for kind in WaitKind))
    text = fields.String()
    until = Timestamp(allow_none=True)
    by = fields.String(allow_none=True)
    arm = fields.String(allow_none=True)
    approval_id = fields.String(allow_none=True)


class WaitingSchema(ResponseSchema):
    """What a task waits for: first the task, then each open step; none when it has ended.

    `left_out` counts open steps beyond the 200 that are shown.
    """

    task_id = task_id_field()
    status = status_field()
    sentences = fields.List(fields.Nested(SentenceSchema))
    left_out = fields.Integer()


_WAITING = WaitingSchema()


@blueprint.get("/<task_id>/waiting")
@describes({200: WaitingSchema, 304: None}, headers={"If-None-Match": "The ETag of an earlier response."})
@requires("task:read")
def show(principal: Principal, task_id: str) -> Response:
    """Say for the task and each of its open steps what it waits for, who must act, and until when."""
    task = find_task(principal, task_id)
    orchestrator = context.orchestrator()
    rows = []
    if not TaskStatus(task.status).is_final():
        # a place in a queue counts the rows of all tenants
        with statement(orchestrator.engine) as conn:
            rows = waiting.open_rows(conn, task.worker_id)
    reply = {
        "task_id": task.id,
        "status": task.status,
        "sentences": sentences(task, rows, settings=orchestrator.settings),
        "left_out": rows[0].open_rows - len(rows) if rows else 0,
    }
    response = jsonify(_WAITING.to_json(reply))
    response.headers["Cache-Control"] = "private, no-cache"
    response.add_etag()
    response.make_conditional(request)
    return response
