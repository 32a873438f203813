"""Tasks over HTTP: submit one, retry one, read one, list them, explain one."""

from collections.abc import Callable, Mapping
from typing import cast

from flask import Blueprint, Flask, Response, jsonify, request

from api import body, cache_control, current, examples, long_poll, replies, schemas, shapes
from api.auth import permit, requires
from api.once import read_once
from api.operation import describes
from api.status import answer, find
from orchestrator.credential import Principal
from orchestrator.errors import BlockedByPolicy, OctoError
from orchestrator.lifecycle.requests import Submitted
from orchestrator.observability import log, metric
from orchestrator.safety import door
from orchestrator.store import events, memory
from orchestrator.store.engine import statement
from orchestrator.store.submissions import Once
from orchestrator.task_contract import Contract, Priority

blueprint = Blueprint("tasks", __name__, url_prefix="/v1/tasks")


def install(app: Flask) -> None:
    """Add the endpoints."""
    app.register_blueprint(blueprint)


@blueprint.post("")
@describes(
    {200: shapes.Accepted, 202: shapes.Accepted},
    409,
    504,
    body=schemas.TaskRequest,
    headers={
        "Cache-Control": "no-cache, no-store, only-if-cached or max-age, as the member `cache` says it."
    },
    examples=examples.CONTRACTS,
)
@requires("task:submit")
def submit(principal: Principal) -> Response:
    """Accept a task: 202, and where to follow it; 200 for one that was accepted before under the same name."""
    orchestrator = current.orchestrator()
    members = body.read_object()
    once = read_once(members)

    def accept() -> Submitted:
        contract = schemas.read_contract(members, task_timeout=orchestrator.settings.task_timeout)
        _require_scope_of(principal, contract.priority)
        return orchestrator.submit(
            tenant=principal.tenant,
            key_id=principal.key_id,
            request_id=current.request_id(),
            contract=_screened(cache_control.with_header(contract)),
            once=once,
            scopes=principal.scopes,
        )

    task = _accept_once(principal, once, accept)
    log.bind(task_id=task.task_id)
    return accepted(task, redacted=task.redacted)


@blueprint.post("/<task_id>/retry")
@describes(
    {200: shapes.Accepted, 202: shapes.Accepted},
    409,
    body=schemas.RetryRequest,
    is_body_required=False,
    examples=examples.RETRIES,
)
@requires("task:submit")
def retry(principal: Principal, task_id: str) -> Response:
    """Run a task that has ended again, as a new one: what had finished is reused, unless it follows `from_step`."""
    from_step = schemas.read_from_step(body.read_optional_object())
    once = read_once({"retry_of": task_id, "from_step": from_step})

    def accept() -> Submitted:
        source = find(principal, task_id)
        _require_scope_of(principal, Priority(source.priority))
        return current.orchestrator().retry(
            tenant=principal.tenant,
            key_id=principal.key_id,
            request_id=current.request_id(),
            task_id=source.id,
            from_step=from_step,
            once=once,
        )

    return accepted(_accept_once(principal, once, accept), retry_of=task_id)


def _require_scope_of(principal: Principal, priority: Priority) -> None:
    """Raise Forbidden when the caller may not go before everybody else."""
    if priority is Priority.CRITICAL:
        permit(principal, "task:critical")


def _accept_once(principal: Principal, once: Once | None, accept: Callable[[], Submitted]) -> Submitted:
    """Return what an earlier submission of the same name made, if there is one; else what `accept` makes.

    `accept` makes nothing when the name is taken, but may refuse before it knows: since the first submission the
    deadline may have passed, an attachment gone, a setting changed. So every refusal asks for the name. (Asking
    before `accept` would cost each submission that has a name one more trip to the database.)
    """
    try:
        return accept()
    except OctoError:
        earlier = current.orchestrator().find_earlier(principal.tenant, once)
        if earlier is None:
            raise
        return earlier


def accepted(
    task: Submitted, *, redacted: Mapping[str, int] | None = None, retry_of: str | None = None
) -> Response:
    """Answer that a task is accepted: 202, or 200 when it was so before under the same name."""
    response = jsonify(replies.accepted(task, redacted=redacted or {}, retry_of=retry_of))
    response.status_code = 200 if task.is_replay else 202
    if task.is_replay:
        response.headers["Idempotency-Replayed"] = "true"
    else:
        response.headers["Cache-Status"] = cache_control.status_of(task.cached)
    response.headers["Location"] = f"/v1/tasks/{task.task_id}"
    return response


def _screened(contract: Contract) -> Contract:
    """Return the contract as the safety policy lets it in, and count what it took out or refused."""
    try:
        screened = door.screen(contract, cast(door.Policy, current.orchestrator().settings.safety_policy))
    except BlockedByPolicy as error:
        metric.screened(error.details["kinds"], "blocked")
        raise
    metric.screened(screened.redacted, "redacted")
    return screened


@blueprint.get("/<task_id>")
@describes(
    {200: shapes.Status, 304: None},
    query=schemas.StatusQuery,
    headers={"If-None-Match": "The ETag of an earlier answer."},
)
@requires("task:read")
def show(principal: Principal, task_id: str) -> Response:
    """Answer where a task stands and what came of it; with `wait`, when it has ended or changed, if that is soon."""
    query = schemas.read(schemas.STATUS, request.args)
    task = find(principal, task_id)
    if query["wait"]:
        return long_poll.hold(principal, task, seconds=query["wait"])
    return answer(task)


@blueprint.get("")
@describes({200: shapes.TaskPage}, query=schemas.TaskListQuery)
@requires("task:read")
def index(principal: Principal) -> Response:
    """List the tenant's tasks, newest first, a page at a time."""
    query = schemas.read(schemas.TASK_LIST, request.args)
    limit, status = query["limit"], query["status"]
    with statement(current.orchestrator().engine, tenant=principal.tenant) as conn:
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
@describes({200: shapes.Trace}, query=schemas.TraceQuery)
@requires("task:read")
def explain(principal: Principal, task_id: str) -> Response:
    """Answer every decision that was taken about a task."""
    query = schemas.read(schemas.TRACE, request.args)
    task = find(principal, task_id)
    with statement(current.orchestrator().engine, tenant=principal.tenant) as conn:
        steps = memory.steps_of(conn, task.worker_id)
        decisions = events.trace(conn, task.id, after=query["after"], limit=query["limit"])
    return jsonify(replies.trace(task, steps=steps, decisions=decisions, after=query["after"]))
