"""What the tools of POST /mcp do: each the work of an endpoint, by the same functions."""

from typing import Any

from marshmallow import EXCLUDE, fields, validate

from api.middleware import context
from api.middleware.approval_access import find_approval, require_decider
from api.middleware.idempotency import named_key, read_key
from api.middleware.task_access import find_task, read_status
from api.routes.approvals import DecisionRequestSchema, record_decision
from api.routes.arms import describe as describe_arm
from api.routes.arms import known_arms
from api.routes.cancel import CancelRequestSchema
from api.routes.tasks import MAX_WAIT_SECONDS, checked_order, retry_task, submit_task
from api.schemas.approvals import approval_reply
from api.schemas.requests import RequestSchema, read
from api.schemas.retry import read_retry
from api.schemas.trace import trace_reply
from api.streaming.long_poll import wait_for_end
from orchestrator.auth.credential import Principal
from orchestrator.chord.database import statement
from orchestrator.lifecycle.submission import Submitted
from orchestrator.memory import approvals, events, pools, tasks
from orchestrator.memory.tenancy import tenant_statement
from orchestrator.models.approval import ApprovalState
from orchestrator.models.caller import Caller

Json = dict[str, Any]
MAX_DECISIONS = 200
_MAX_APPROVALS = 20


class _GetSchema(RequestSchema):
    task_id = fields.String(required=True)
    wait = fields.Integer(strict=True, load_default=0, validate=validate.Range(0, MAX_WAIT_SECONDS))


class _ExplainSchema(RequestSchema):
    task_id = fields.String(required=True)
    after = fields.Integer(strict=True, load_default=0, validate=validate.Range(0, 2**63 - 1))
    limit = fields.Integer(strict=True, load_default=50, validate=validate.Range(1, MAX_DECISIONS))


_GET, _EXPLAIN = _GetSchema(), _ExplainSchema()
_CANCEL, _DECISION = CancelRequestSchema(unknown=EXCLUDE), DecisionRequestSchema(unknown=EXCLUDE)


def submit(principal: Principal, arguments: Json) -> Json:
    """Submit a task: POST /v1/tasks."""
    members = {name: value for name, value in arguments.items() if name != "idempotency_key"}
    key = arguments.get("idempotency_key")
    once = named_key(key, members) if key is not None else read_key(members)
    return _submitted(submit_task(principal, members, once=once))


def retry(principal: Principal, arguments: Json) -> Json:
    """Run a task again: POST /v1/tasks/{id}/retry."""
    task_id, key = str(arguments["task_id"]), arguments.get("idempotency_key")
    asked = {name: value for name, value in arguments.items() if name in ("from_step", "set")}
    order = checked_order(read_retry(asked, task_id=task_id))
    members = {"retry_of": task_id, **order.members}
    once = named_key(key, members) if key is not None else read_key(members)
    return _submitted(retry_task(principal, task_id, order, once=once))


def _submitted(task: Submitted) -> Json:
    return {"task_id": task.task_id, "status": task.status.value, "is_repeated": task.is_replay}


def get(principal: Principal, arguments: Json) -> Json:
    """Return a task's status and what a person is asked: GET /v1/tasks/{id}."""
    given = read(_GET, arguments)
    task = find_task(principal, given["task_id"])
    if given["wait"]:
        task = wait_for_end(principal, task, seconds=given["wait"])
    status = read_status(task)
    asked = _pending(principal, task.id) if status["approvals"] else []
    shown = ("task_id", "status", "goal", "progress", "message", "result", "error", "metadata")
    return {name: status[name] for name in shown} | {"approvals": asked}


def _pending(principal: Principal, task_id: str) -> list[Json]:
    with tenant_statement(context.orchestrator().engine, principal.tenant) as conn:
        found = approvals.list_approvals(
            conn, principal.tenant, state=ApprovalState.PENDING, task_id=task_id, limit=_MAX_APPROVALS
        )
    return [approval_reply(approval) for approval in found]


def cancel(principal: Principal, arguments: Json) -> Json:
    """Cancel a task: POST /v1/tasks/{id}/cancel."""
    reason = read(_CANCEL, arguments)["reason"]
    task = find_task(principal, str(arguments["task_id"]))
    cancelled, stopped = context.orchestrator().cancel(
        tenant=principal.tenant, task_id=task.id, reason=reason
    )
    return {"task_id": task.id, "status": cancelled.status, "stopped_steps": len(stopped)}


def explain(principal: Principal, arguments: Json) -> Json:
    """Return a page of a task's trace: GET /v1/tasks/{id}/trace."""
    given = read(_EXPLAIN, arguments)
    task = find_task(principal, given["task_id"])
    with tenant_statement(context.orchestrator().engine, principal.tenant) as conn:
        steps = tasks.steps_of(conn, task.worker_id)
        decisions = events.trace(conn, task.id, after=given["after"], limit=given["limit"])
    return trace_reply(task, steps, decisions, after=given["after"], results=False)


def list_arms(principal: Principal, _arguments: Json) -> Json:
    """List the arms of the caller's tenant: GET /v1/arms."""
    orchestrator = context.orchestrator()
    with statement(orchestrator.engine) as conn:
        arms = known_arms(conn, orchestrator.settings, principal.tenant)
        found = pools.arm_statistics(conn, arms=arms, tenant=principal.tenant)
    shown = ("arm_id", "name", "description", "capabilities", "status")
    described = [describe_arm(arm, found[arm.arm_id]) for arm in arms]
    return {"arms": [{name: arm[name] for name in shown} for arm in described]}


def decide(principal: Principal, arguments: Json) -> Json:
    """Decide an approval: POST /v1/approvals/{id}/decision."""
    approval = find_approval(principal.tenant, str(arguments["approval_id"]))
    require_decider(principal, approval)
    given = read(_DECISION, {name: value for name, value in arguments.items() if name != "via"})
    caller = Caller(principal.tenant, principal.key_id, idempotency=read_key(arguments))
    decided = record_decision(caller, approval, given, decided_by=principal.subject)
    reply = approval_reply(decided.approval)
    return {name: reply[name] for name in ("approval_id", "task_id", "step_id", "state", "decided_by")}
