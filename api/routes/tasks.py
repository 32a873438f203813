"""Tasks over HTTP: submit one, retry one, read one, list them, explain one."""

from collections.abc import Callable, Mapping
from typing import cast

from flask import Blueprint, Flask, Response, jsonify, request

from api.middleware import body, cache_control, context
from api.middleware.auth import permit, requires
from api.middleware.idempotency import read_once
from api.routes.status import answer, find
from api.schemas import examples, requests, responses, serializers
from api.schemas.operation import describes
from api.streaming import long_poll
from orchestrator.auth.credential import Principal
from orchestrator.lifecycle.submission import Submitted
from orchestrator.memory import events, tasks
from orchestrator.memory.submissions import IdempotencyKey
from orchestrator.memory.tenancy import tenant_statement
from orchestrator.models.errors import BlockedByPolicy, OctoError
from orchestrator.models.task_contract import Contract, Priority
from orchestrator.observability import log, metric
from orchestrator.safety import screening

blueprint = Blueprint("tasks", __name__, url_prefix="/v1/tasks")


def install(app: Flask) -> None:
    """Add the endpoints."""
    app.register_blueprint(blueprint)


@blueprint.post("")
@describes(
    {200: responses.Accepted, 202: responses.Accepted},
    409,
    504,
    body=requests.TaskRequest,
    headers={
        "Cache-Control": "no-cache, no-store, only-if-cached or max-age, as the member `cache` says it."
    },
    examples=examples.CONTRACTS,
)
@requires("task:submit")
def submit(principal: Principal) -> Response:
    """Accept a task: 202, and where to follow it; 200 for one that was accepted before under the same name."""
    orchestrator = context.orchestrator()
    members = body.read_object()
    idempotency = read_once(members)

    def accept() -> Submitted:
        contract = requests.read_contract(members, task_timeout=orchestrator.settings.task_timeout)
        _require_scope_of(principal, contract.priority)
        return orchestrator.submit(
            tenant=principal.tenant,
            key_id=principal.key_id,
            request_id=context.request_id(),
            contract=_screened(cache_control.with_header(contract)),
            idempotency=idempotency,
            scopes=principal.scopes,
        )

    task = _accept_once(principal, idempotency, accept)
    log.bind(task_id=task.task_id)
    return accepted(task, redacted=task.redacted)


@blueprint.post("/<task_id>/retry")
@describes(
    {200: responses.Accepted, 202: responses.Accepted},
    409,
    body=requests.RetryRequest,
    is_body_required=False,
    examples=examples.RETRIES,
)
@requires("task:submit")
def retry(principal: Principal, task_id: str) -> Response:
    """Run a task that has ended again, as a new one: what had finished is reused, unless it follows `from_step`."""
    from_step = requests.read_from_step(body.read_optional_object())
    idempotency = read_once({"retry_of": task_id, "from_step": from_step})

    def accept() -> Submitted:
        source = find(principal, task_id)
        _require_scope_of(principal, Priority(source.priority))
        return context.orchestrator().retry(
            tenant=principal.tenant,
            key_id=principal.key_id,
            request_id=context.request_id(),
            task_id=source.id,
            from_step=from_step,
            idempotency=idempotency,
        )

    return accepted(_accept_once(principal, idempotency, accept), retry_of=task_id)


def _require_scope_of(principal: Principal, priority: Priority) -> None:
    """Raise Forbidden when the caller may not go before everybody else."""
    if priority is Priority.CRITICAL:
        permit(principal, "task:critical")


def _accept_once(
    principal: Principal, idempotency: IdempotencyKey | None, accept: Callable[[], Submitted]
) -> Submitted:
    """Return what an earlier submission of the same name made, if there is one; else what `accept` makes.

    `accept` makes nothing when the name is taken, but may refuse before it knows: since the first submission the
    deadline may have passed, an attachment gone, a setting changed. So every refusal asks for the name. (Asking
    before `accept` would cost each submission that has a name one more trip to the database.)
    """
    try:
        return accept()
    except OctoError:
        earlier = context.orchestrator().find_earlier(principal.tenant, idempotency)
        if earlier is None:
            raise
        return earlier


def accepted(
    task: Submitted, *, redacted: Mapping[str, int] | None = None, retry_of: str | None = None
) -> Response:
    """Answer that a task is accepted: 202, or 200 when it was so before under the same name."""
    response = jsonify(serializers.accepted(task, redacted=redacted or {}, retry_of=retry_of))
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
        screened = screening.screen(
            contract, cast(screening.Policy, context.orchestrator().settings.safety_policy)
        )
    except BlockedByPolicy as error:
        metric.screened(error.details["kinds"], "blocked")
        raise
    metric.screened(screened.redacted, "redacted")
    return screened


@blueprint.get("/<task_id>")
@describes(
    {200: responses.Status, 304: None},
    query=requests.StatusQuery,
    headers={"If-None-Match": "The ETag of an earlier answer."},
)
@requires("task:read")
def show(principal: Principal, task_id: str) -> Response:
    """Answer where a task stands and what came of it; with `wait`, when it has ended or changed, if that is soon."""
    query = requests.read(requests.STATUS, request.args)
    task = find(principal, task_id)
    if query["wait"]:
        return long_poll.hold(principal, task, seconds=query["wait"])
    return answer(task)


@blueprint.get("")
@describes({200: responses.TaskPage}, query=requests.TaskListQuery)
@requires("task:read")
def index(principal: Principal) -> Response:
    """List the tenant's tasks, newest first, a page at a time."""
    query = requests.read(requests.TASK_LIST, request.args)
    limit, status = query["limit"], query["status"]
    with tenant_statement(context.orchestrator().engine, principal.tenant) as conn:
        found = tasks.list_tasks(
            conn,
            principal.tenant,
            status=status.value if status else None,
            limit=limit + 1,
            before=query["cursor"],
        )
    page = found[:limit]
    return jsonify(serializers.task_list(page, next_cursor=page[-1].id if len(found) > limit else None))


@blueprint.get("/<task_id>/trace")
@describes({200: responses.Trace}, query=requests.TraceQuery)
@requires("task:read")
def explain(principal: Principal, task_id: str) -> Response:
    """Answer every decision that was taken about a task."""
    query = requests.read(requests.TRACE, request.args)
    task = find(principal, task_id)
    with tenant_statement(context.orchestrator().engine, principal.tenant) as conn:
        steps = tasks.steps_of(conn, task.worker_id)
        decisions = events.trace(conn, task.id, after=query["after"], limit=query["limit"])
    return jsonify(serializers.trace(task, steps=steps, decisions=decisions, after=query["after"]))
