"""Looks into a task: GET /v1/tasks/{id}/steps/{step_id} shows one step, /v1/tasks/{id}/diff compares two rounds."""

from typing import Any

from flask import Blueprint, Response, jsonify, request
from marshmallow import EXCLUDE

from api.middleware import context
from api.middleware.auth import requires
from api.middleware.task_access import find_task
from api.schemas.difference import DifferenceQuerySchema, DifferenceSchema, difference_reply, read_rounds
from api.schemas.operation import describes
from api.schemas.requests import read
from api.schemas.step_details import StepDetailsSchema, StepQuerySchema, step_details_reply
from orchestrator.auth.credential import Principal
from orchestrator.lifecycle import difference, step_details
from orchestrator.lifecycle.step_details import ItemPage
from orchestrator.memory.tenancy import tenant_statement
from orchestrator.models.errors import NotFound

blueprint = Blueprint("steps", __name__, url_prefix="/v1/tasks")

_QUERY = StepQuerySchema(unknown=EXCLUDE)
_DIFFERENCE_QUERY = DifferenceQuerySchema(unknown=EXCLUDE)


@blueprint.get("/<task_id>/steps/<step_id>")
@describes({200: StepDetailsSchema}, query=StepQuerySchema)
@requires("task:read")
def show(principal: Principal, task_id: str, step_id: str) -> Response:
    """Return a step with its inputs, attempts, output, calls to models, decisions and log.

    An item of a step with for_each is called `fix[3]`; `$plan` and `$judge` are the planner's and the judge's work. A
    large output is in a file: the reply has its beginning and where to download it.
    """
    query: dict[str, Any] = read(_QUERY, request.args)
    task = find_task(principal, task_id)
    page = ItemPage(query["after"], query["limit"])
    with tenant_statement(context.orchestrator().engine, principal.tenant) as conn:
        found = step_details.read_step(
            conn, principal.tenant, task.worker_id, step_id, round_number=query["round"], items=page
        )
    if found is None:
        raise NotFound("The task has no such step in this round.")
    return jsonify(step_details_reply(task.worker_id, found))


@blueprint.get("/<task_id>/diff")
@describes({200: DifferenceSchema}, query=DifferenceQuerySchema)
@requires("task:read")
def diff(principal: Principal, task_id: str) -> Response:
    """Compare two tasks (`other`), or two rounds (`rounds`): contract, plan, steps, verdict, cost and time.

    Outputs are compared by their hashes. `first_divergence` is the first step, in the order of the dependencies, whose
    inputs differ, or else how it ended or what it put out.
    """
    query: dict[str, Any] = read(_DIFFERENCE_QUERY, request.args)
    task = find_task(principal, task_id)
    other = find_task(principal, query["other"]) if query["other"] else task
    numbers = read_rounds(query["rounds"] or "") or (None, None)
    with tenant_statement(context.orchestrator().engine, principal.tenant) as conn:
        return jsonify(difference_reply(difference.compare(conn, task, other, numbers=numbers)))
