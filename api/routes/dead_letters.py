"""GET /v1/dead-steps: lists dead letters, steps that were given up because they killed their workers."""

from typing import Any

from flask import Blueprint, Response, jsonify, request
from marshmallow import EXCLUDE, Schema, fields, validate

from api.middleware import context
from api.middleware.auth import requires
from api.schemas.fields import Timestamp
from api.schemas.operation import describes
from api.schemas.requests import MAX_PAGE, read
from api.schemas.responses import ResponseSchema, status_field, task_id_field
from orchestrator.auth.credential import Principal
from orchestrator.memory import dead_letters
from orchestrator.memory.dead_letters import DeadLetter
from orchestrator.memory.tenancy import tenant_statement

# operation ids and the label `endpoint` of metrics contain the name
blueprint = Blueprint("dead", __name__, url_prefix="/v1")


class DeadQuerySchema(Schema):
    """Which dead letters to list; the cursor is the previous page's `next_cursor`."""

    limit = fields.Integer(load_default=20, validate=validate.Range(1, MAX_PAGE))
    cursor = fields.UUID(load_default=None)


class DeadStepSchema(ResponseSchema):
    """A step that was given up after it killed `kills` workers; `retried_by` is the latest retry of its task."""

    task_id = task_id_field()
    task_status = status_field()
    step_id = fields.String(attribute="name")
    arm_id = fields.String(attribute="arm")
    round = fields.Integer()
    kills = fields.Integer()
    error = fields.Raw()
    failed_at = Timestamp(attribute="finished_at")
    retried_by = fields.String(allow_none=True)
    links = fields.Dict(keys=fields.String(), values=fields.String())


class DeadPageSchema(ResponseSchema):
    """A page of dead letters, newest first; request the next page with cursor = `next_cursor`."""

    steps = fields.List(fields.Nested(DeadStepSchema))
    next_cursor = fields.String(allow_none=True)


_QUERY = DeadQuerySchema(unknown=EXCLUDE)
_STEP = DeadStepSchema()


@blueprint.get("/dead-steps")
@describes({200: DeadPageSchema}, query=DeadQuerySchema)
@requires("task:read")
def index(principal: Principal) -> Response:
    """List the tenant's steps that failed with poison_step, newest first; POST to links.retry to run one again."""
    query = read(_QUERY, request.args)
    limit, cursor = query["limit"], query["cursor"]
    with tenant_statement(context.orchestrator().engine, principal.tenant) as conn:
        found = dead_letters.list_dead(conn, principal.tenant, limit=limit + 1, before=cursor and str(cursor))
    page = found[:limit]
    next_cursor = page[-1].id if len(found) > limit else None
    return jsonify({"steps": [_step_reply(letter) for letter in page], "next_cursor": next_cursor})


def _step_reply(letter: DeadLetter) -> dict[str, Any]:
    path = f"/v1/tasks/{letter.task_id}"
    links = {"task": path, "trace": f"{path}/trace", "retry": f"{path}/retry"}
    return _STEP.to_json({**vars(letter), "links": links})
