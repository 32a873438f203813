"""Tasks over HTTP: submit one, read one, list them, explain one."""

from flask import Blueprint, Flask, Response, jsonify, request

from api import body, current, replies, schemas
from api.auth import requires
from api.once import read_once
from orchestrator.credential import Principal
from orchestrator.errors import NotFound
from orchestrator.execution_state import TaskStatus
from orchestrator.identifier import is_task_id
from orchestrator.observability import log
from orchestrator.store import events, memory
from orchestrator.store.engine import statement
from orchestrator.store.memory import TaskRecord

blueprint = Blueprint("tasks", __name__, url_prefix="/v1/tasks")


def install(app: Flask) -> None:
    """Add the endpoints."""
    app.register_blueprint(blueprint)


@blueprint.post("")
@requires("task:submit")
def submit(principal: Principal) -> Response:
    """Accept a task: 202, and where to follow it; 200 for one that was accepted before under the same name."""
    orchestrator = current.orchestrator()
    members = body.read_object()
    contract = schemas.read_contract(members, task_timeout=orchestrator.settings.task_timeout)
    task = orchestrator.submit(
        tenant=principal.tenant,
        key_id=principal.key_id,
        request_id=current.request_id(),
        contract=contract,
        once=read_once(members),
    )
    log.bind(task_id=task.task_id)
    response = jsonify(replies.accepted(task))
    response.status_code = 200 if task.is_replay else 202
    if task.is_replay:
        response.headers["Idempotency-Replayed"] = "true"
    response.headers["Location"] = f"/v1/tasks/{task.task_id}"
    return response


@blueprint.get("/<task_id>")
@requires("task:read")
def show(principal: Principal, task_id: str) -> Response:
    """Answer where a task stands and what came of it."""
    return jsonify(status_of(find(principal, task_id)))


@blueprint.get("")
@requires("task:read")
def index(principal: Principal) -> Response:
    """List the tenant's tasks, newest first, a page at a time."""
    query = schemas.read(schemas.TASK_LIST, request.args)
    limit, status = query["limit"], query["status"]
    with statement(current.orchestrator().engine) as conn:
        found = memory.list_tasks(
            conn,
            principal.tenant,
            status=status.value if status else None,
            limit=limit + 1,
            before=query["cursor"],
        )
    page = found[:limit]
    return jsonify(replies.task_list(page, next_cursor=page[-1].id if len(found) > limit else None))


@blueprint.get("/<task_id>/trace")
@requires("task:read")
def explain(principal: Principal, task_id: str) -> Response:
    """Answer every decision that was taken about a task."""
    query = schemas.read(schemas.TRACE, request.args)
    task = find(principal, task_id)
    with statement(current.orchestrator().engine) as conn:
        steps = memory.steps_of(conn, task.id)
        decisions = events.trace(conn, task.id, after=query["after"], limit=query["limit"])
    return jsonify(replies.trace(task, steps=steps, decisions=decisions, after=query["after"]))


def find(principal: Principal, task_id: str) -> TaskRecord:
    """Return the caller's task; another tenant's is not there, and neither is what can't be an id."""
    task = None
    if is_task_id(task_id):
        log.bind(task_id=task_id)
        with statement(current.orchestrator().engine) as conn:
            task = memory.find_task(conn, principal.tenant, task_id)
    if task is None:
        raise NotFound("There is no such task.")
    return task


def status_of(task: TaskRecord) -> dict[str, object]:
    """Return the task's status with its steps and the arms it waits for."""
    with statement(current.orchestrator().engine) as conn:
        steps = memory.steps_of(conn, task.id)
        is_open = not TaskStatus(task.status).is_final()
        waiting_for = memory.waiting_arms(conn, task.id) if is_open else []
    return replies.task_status(task, steps=steps, waiting_for=waiting_for)
