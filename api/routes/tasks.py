"""The endpoints of /v1/tasks: submit, retry, read and trace tasks."""

from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import replace
from typing import Any

from flask import Blueprint, Response, jsonify, request
from marshmallow import EXCLUDE, Schema, fields, validate

from api.middleware import audit, body, cache_control, context
from api.middleware.auth import requires
from api.middleware.idempotency import REPEATABLE, read_key, submit_once
from api.middleware.task_access import find_task, read_status
from api.routes.task_contract import (
    EXAMPLES,
    TaskRequestSchema,
    read_contract,
    require_priority_scope,
    screened,
    screened_fork,
)
from api.schemas.fields import Timestamp
from api.schemas.operation import describes
from api.schemas.requests import read
from api.schemas.responses import ResponseSchema, status_field, task_id_field
from api.schemas.retry import EXAMPLES as RETRY_EXAMPLES
from api.schemas.retry import RetryOrder, RetryRequestSchema, read_retry
from api.schemas.retry_preview import RetryPreviewSchema, preview_reply
from api.schemas.task_status import (
    CacheReplySchema,
    StatusSchema,
)
from api.schemas.trace import TraceQuerySchema, TraceSchema, trace_reply
from api.streaming.long_poll import readings
from orchestrator.auth.credential import Principal
from orchestrator.lifecycle import retry_preview
from orchestrator.lifecycle.submission import Submitted
from orchestrator.memory import events, tasks
from orchestrator.memory.tasks import TaskRecord
from orchestrator.memory.tenancy import tenant_statement
from orchestrator.models.caller import Caller, IdempotencyKey
from orchestrator.models.errors import InvalidInput
from orchestrator.models.execution_state import PLAN_STEP
from orchestrator.models.task_contract import Priority
from orchestrator.models.trace_context import TraceContext, parse_traceparent
from orchestrator.observability import log, tracing

MAX_WAIT_SECONDS = 30
_MESSAGES = {
    "hit": "The task is completed by an earlier result.",
    "coalesced": "The same task is already running; it will provide the result.",
}

blueprint = Blueprint("tasks", __name__, url_prefix="/v1/tasks")


class StatusQuerySchema(Schema):
    """How many seconds to wait for the task's end, or until its status no longer matches If-None-Match."""

    wait = fields.Integer(load_default=0, validate=validate.Range(0, MAX_WAIT_SECONDS))


class AcceptedSchema(ResponseSchema):
    """The reply to a submission; `redacted` counts the texts that were replaced, by kind."""

    task_id = task_id_field()
    status = status_field()
    created_at = Timestamp()
    estimated_completion = Timestamp(allow_none=True)
    message = fields.String()
    cache = fields.Nested(CacheReplySchema, allow_none=True)
    redacted = fields.Dict(keys=fields.String(), values=fields.Integer())
    links = fields.Dict(keys=fields.String(), values=fields.String())


_RETRIED = {"application/json": {"schema": {"anyOf": [AcceptedSchema, RetryPreviewSchema]}}}
_STATUS_QUERY = StatusQuerySchema(unknown=EXCLUDE)
_TRACE_QUERY = TraceQuerySchema(unknown=EXCLUDE)
_ACCEPTED = AcceptedSchema()


@blueprint.post("")
@describes(
    {200: AcceptedSchema, 202: AcceptedSchema},
    409,
    504,
    body=TaskRequestSchema,
    headers={
        **REPEATABLE,
        "Cache-Control": "no-cache, no-store, only-if-cached or max-age; see the member `cache`.",
    },
    examples=EXAMPLES,
    audit_action="task.submit",
)
@requires("task:submit")
def submit(principal: Principal) -> Response:
    """Submit a task: 202 with links to follow it; 200 if it was submitted before with the same idempotency key."""
    members = body.read_object()
    task = submit_task(principal, members, once=read_key(members))
    return _accepted(task, redacted=task.redacted)


def submit_task(
    principal: Principal,
    members: Mapping[str, Any],
    *,
    once: IdempotencyKey | None,
    before: Callable[[], object] = lambda: None,
) -> Submitted:
    """Submit the task that `members` describe, as POST /v1/tasks does; every endpoint that takes tasks calls this.

    Checks the contract and its priority's scope, screens its texts, calls `before`, and then saves the task. With the
    name `once` of an earlier submission it returns that one's task. Raises what the endpoint answers.
    """
    orchestrator = context.orchestrator()
    caller = _caller(principal, once)

    def create() -> Submitted:
        contract = read_contract(members, default_budget=orchestrator.settings.budget, tenant=caller.tenant)
        require_priority_scope(principal, contract.priority)
        safe = screened(cache_control.with_header(contract))
        before()
        return orchestrator.submit(caller, safe)

    task = submit_once(caller, create)
    # the first submission may have come in another trace
    trace = {} if task.is_replay else tracing.log_fields(task.task_id, caller.trace.to_record())
    log.bind(task_id=task.task_id, **trace)
    return task


@blueprint.post("/<task_id>/retry")
@describes(
    {200: _RETRIED, 202: AcceptedSchema},
    409,
    body=RetryRequestSchema,
    is_body_required=False,
    headers=REPEATABLE,
    examples=RETRY_EXAMPLES,
    audit_action="task.retry",
)
@requires("task:submit")
def retry(principal: Principal, task_id: str) -> Response:
    """Run a finished task again as a new task; finished steps are reused, except `from_step` and what depends on it.

    With `set` it is a fork: steps whose inputs, instruction or model differ run again, and what depends on them. With
    `replay` all steps run, and models' answers are those that were kept. With `dry_run` it says which steps would be
    reused and run, and what these used before, and writes nothing.
    """
    order = checked_order(read_retry(body.read_optional_object(), task_id=task_id))
    if order.is_dry:
        return _retry_preview(principal, task_id, order)
    once = read_key({"retry_of": task_id, **order.members})
    return _accepted(retry_task(principal, task_id, order, once=once), retry_of=task_id)


def retry_task(
    principal: Principal, task_id: str, order: RetryOrder, *, once: IdempotencyKey | None
) -> Submitted:
    """Run a finished task again, as POST /v1/tasks/{id}/retry does. Raises what the endpoint answers."""
    caller = _caller(principal, once)

    def create() -> Submitted:
        source = find_task(principal, task_id)
        require_priority_scope(principal, Priority(source.priority))
        return context.orchestrator().retry(
            caller, task_id=source.id, from_step=order.from_step, fork=order.fork
        )

    return submit_once(caller, create)


def checked_order(order: RetryOrder) -> RetryOrder:
    """Return the order with the texts of its fork screened. Raises InvalidInput for a model that is not there."""
    if order.fork is None:
        return order
    known = [str(name) for name in context.orchestrator().settings.all_models]
    if order.fork.model is not None and order.fork.model not in known:
        raise InvalidInput.at(
            "set.model", f"this server has no such model; it has {', '.join(known) or 'none'}"
        )
    if order.fork.prompt.get(PLAN_STEP) and not known:
        raise InvalidInput.at(f"set.prompt.{PLAN_STEP}", "no model is configured here that could plan")
    return replace(order, fork=screened_fork(order.fork))


def _retry_preview(principal: Principal, task_id: str, order: RetryOrder) -> Response:
    audit.rename_action("task.retry.preview")
    task = find_task(principal, task_id)
    require_priority_scope(principal, Priority(task.priority))
    with tenant_statement(context.orchestrator().engine, principal.tenant) as conn:
        return jsonify(
            preview_reply(retry_preview.preview(conn, task, from_step=order.from_step, fork=order.fork))
        )


def _caller(principal: Principal, once: IdempotencyKey | None) -> Caller:
    """Return the sender of this request, which `once` names."""
    return Caller(
        tenant=principal.tenant,
        key_id=principal.key_id,
        scopes=principal.scopes,
        request_id=context.request_id(),
        idempotency=once,
        trace=_trace_context(),
    )


def _trace_context() -> TraceContext:
    """Return the span that the header `traceparent` names; a malformed header counts as none."""
    parent = parse_traceparent(request.headers.get("traceparent"))
    return TraceContext(str(parent) if parent else None)


@blueprint.get("/<task_id>")
@describes(
    {200: StatusSchema, 304: None},
    query=StatusQuerySchema,
    headers={"If-None-Match": "The ETag of an earlier response."},
)
@requires("task:read")
def show(principal: Principal, task_id: str) -> Response:
    """Return a task's status and result; with `wait`, as soon as it ends or changes, at the latest after `wait` s."""
    query = read(_STATUS_QUERY, request.args)
    task = find_task(principal, task_id)
    if query["wait"]:
        return _long_poll(principal, task, seconds=query["wait"])
    return _status_response(task)


@blueprint.get("/<task_id>/trace")
@describes({200: TraceSchema}, query=TraceQuerySchema)
@requires("task:read")
def explain(principal: Principal, task_id: str) -> Response:
    """Return a task's contract, its steps' results and the decisions about it."""
    query = read(_TRACE_QUERY, request.args)
    task = find_task(principal, task_id)
    with tenant_statement(context.orchestrator().engine, principal.tenant) as conn:
        steps = tasks.steps_of(conn, task.worker_id)
        decisions = events.trace(conn, task.id, after=query["after"], limit=query["limit"])
    return jsonify(trace_reply(task, steps, decisions, after=query["after"], results=query["results"]))


def _accepted(
    task: Submitted, *, redacted: Mapping[str, int] | None = None, retry_of: str | None = None
) -> Response:
    """Return the reply to a submission: 202, or 200 if it repeats an earlier one; `retry_of` is the retried task."""
    path = f"/v1/tasks/{task.task_id}"
    source = {"retry_of": f"/v1/tasks/{retry_of}"} if retry_of else {}
    reply = {
        "task_id": task.task_id,
        "status": task.status.value,
        "created_at": task.created_at,
        "estimated_completion": None,
        "message": _MESSAGES.get(task.cached.outcome, "The task is queued."),
        "cache": task.cached if task.cached.layer else None,
        "redacted": redacted or {},
        "links": {"self": path, "events": f"{path}/events", "trace": f"{path}/trace", **source},
    }
    response = jsonify(_ACCEPTED.to_json(reply))
    response.status_code = 200 if task.is_replay else 202
    if task.is_replay:
        response.headers["Idempotency-Replayed"] = "true"
    else:
        response.headers["Cache-Status"] = cache_control.cache_status(task.cached)
    response.headers["Location"] = path
    return response


def _status_response(task: TaskRecord) -> Response:
    """Return the task's status with an ETag; 304 if If-None-Match has the same one."""
    response = jsonify(read_status(task))
    response.headers["Cache-Control"] = "private, no-cache"
    response.add_etag()
    response.make_conditional(request)
    return response


def _long_poll(principal: Principal, task: TaskRecord, *, seconds: float) -> Response:
    """Return the status when the task has ended or no longer matches If-None-Match, at the latest after `seconds`."""
    end_only = not request.if_none_match
    with closing(readings(principal, task, seconds=seconds, end_only=end_only)) as found:
        latest = task
        for latest in found:
            if not end_only and (response := _status_response(latest)).status_code != 304:
                return response
    return _status_response(latest)
