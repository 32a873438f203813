"""The endpoint POST /v1/plans/check: what a submission would answer, without a task."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, cast

from flask import Blueprint, Response, jsonify
from marshmallow import fields

from api.middleware import body, context
from api.middleware.auth import requires
from api.routes.task_contract import EXAMPLES, TaskRequestSchema, read_contract
from api.schemas.operation import describes
from api.schemas.responses import ResponseSchema, one_of
from orchestrator.auth.credential import Principal
from orchestrator.lifecycle.contract_check import CheckedContract, Fault, check_contract, faults_of
from orchestrator.models.errors import BlockedByPolicy, InvalidInput
from orchestrator.models.plan import PlanStep
from orchestrator.models.task_contract import MAX_ATTACHMENTS, MAX_CRITERIA, Contract, Priority
from orchestrator.router import Route
from orchestrator.rules.json_pointer import locate
from orchestrator.safety import screening

MAX_FAULTS = 100
_LIST_OF_STEPS = "plan.steps"

blueprint = Blueprint("plans", __name__, url_prefix="/v1/plans")


class FaultSchema(ResponseSchema):
    """What is wrong: `path` is the JSON pointer, in the body, of the deepest place that exists."""

    path = fields.String()
    message = fields.String()


class RoutedStepSchema(ResponseSchema):
    """A step of the plan, and the arm and action that would do it now; `reason` says why, or what it would wait for."""

    id = fields.String()
    description = fields.String()
    arm = fields.String()
    action = fields.String()
    reason = fields.String()
    depends_on = fields.List(fields.String())
    estimate = fields.Dict(keys=fields.String(), values=fields.Float())
    needs_approval = fields.Boolean()
    for_each = fields.Boolean()


class EffectiveBudgetSchema(ResponseSchema):
    """The budget that the task would have, with the server's limits where the contract has none."""

    max_tokens = fields.Integer()
    max_time_seconds = fields.Integer()
    max_cost_dollars = fields.Float()
    max_retries = fields.Integer()
    max_repairs = fields.Integer()
    max_replans = fields.Integer()


class LimitsSchema(ResponseSchema):
    """What this server accepts: bytes of a body and of a file, and counts."""

    body_bytes = fields.Integer()
    file_bytes = fields.Integer()
    attachments = fields.Integer()
    criteria = fields.Integer()


class CheckedSchema(ResponseSchema):
    """What is wrong with a contract, at most 100 faults; else the steps that would run.

    A plan that a model makes (`planned_by`) is not known before the submission.
    `reserved_tokens` are those that the steps take of the budget. `budget` is null if the contract is not valid.
    """

    faults = fields.List(fields.Nested(FaultSchema))
    planned_by = one_of("client", "recipe", "model")
    steps = fields.List(fields.Nested(RoutedStepSchema))
    reserved_tokens = fields.Integer()
    budget = fields.Nested(EffectiveBudgetSchema, allow_none=True)
    limits = fields.Nested(LimitsSchema)


_CHECKED = CheckedSchema()


@blueprint.post("/check")
@describes(
    {200: CheckedSchema},
    body=TaskRequestSchema,
    examples=EXAMPLES,
    is_idempotent=True,
    audit_action="plan.check",
)
@requires("task:submit")
def check(principal: Principal) -> Response:
    """Check a task contract, with or without a plan, as its submission does; nothing is stored and no task is made."""
    members = body.read_object()
    faults, contract = _read(principal, members)
    checked = CheckedContract(()) if contract is None else _checked(principal, contract)
    found = [*faults, *checked.faults][:MAX_FAULTS]
    reply = {
        "faults": [_located(fault, members) for fault in found],
        "planned_by": _planner_of(members, checked),
        "steps": [] if found else _steps(checked),
        "reserved_tokens": 0 if found else checked.reserved_tokens,
        "budget": contract.budget if contract else None,
        "limits": _limits(),
    }
    return jsonify(_CHECKED.to_json(reply))


def _read(principal: Principal, members: Mapping[str, Any]) -> tuple[list[Fault], Contract | None]:
    """Return the faults of the members, and the contract without the faulty ones; None if too little is left."""
    settings = context.orchestrator().settings
    try:
        return [], read_contract(members, default_budget=settings.budget, tenant=principal.tenant)
    except InvalidInput as error:
        faults = faults_of(error)
    wrong = {fault.field.split(".")[0] for fault in faults}
    left = {name: value for name, value in members.items() if name not in wrong}
    if "goal" not in left and not left.keys() & {"plan", "recipe"}:
        return faults, None
    try:
        rest = {"goal": "-", **left}
        return faults, read_contract(rest, default_budget=settings.budget, tenant=principal.tenant)
    except InvalidInput:
        return faults, None


def _checked(principal: Principal, contract: Contract) -> CheckedContract:
    orchestrator = context.orchestrator()
    faults = []
    if contract.priority is Priority.CRITICAL and not principal.may("task:critical"):
        faults.append(Fault("priority", "critical needs the scope task:critical"))
    try:
        policy = cast(screening.Policy, orchestrator.settings.safety_policy)
        contract = screening.screen(contract, policy)
    except BlockedByPolicy as error:
        faults.append(Fault("", error.message))
    found = check_contract(
        orchestrator.engine, settings=orchestrator.settings, tenant=principal.tenant, contract=contract
    )
    return replace(found, faults=[*faults, *found.faults])


def _located(fault: Fault, members: Mapping[str, Any]) -> dict[str, str]:
    """Return a fault with the pointer to its place; the message names the member if it is missing."""
    dotted = fault.field
    if isinstance(members.get("plan"), list):
        dotted = dotted.replace(_LIST_OF_STEPS, "plan", 1) if dotted.startswith(_LIST_OF_STEPS) else dotted
    path, missing = locate(members, dotted)
    return {"path": path, "message": f"{missing}: {fault.message}" if missing else fault.message}


def _limits() -> dict[str, int]:
    settings = context.orchestrator().settings
    return {
        "body_bytes": settings.max_body_bytes,
        "file_bytes": settings.max_file_bytes,
        "attachments": MAX_ATTACHMENTS,
        "criteria": MAX_CRITERIA,
    }


def _planner_of(members: Mapping[str, Any], checked: CheckedContract) -> str:
    if members.get("plan") is not None:
        return "client"
    return "recipe" if checked.plan or members.get("recipe") is not None else "model"


def _steps(checked: CheckedContract) -> list[dict[str, Any]]:
    return [_step(step, checked.routes[step.id]) for step in checked.plan.steps] if checked.plan else []


def _step(step: PlanStep, route: Route) -> dict[str, Any]:
    return {
        **route.offer._asdict(),
        "id": step.id,
        "description": step.description,
        "reason": route.reason,
        "depends_on": step.depends_on,
        "estimate": step.estimate,
        "needs_approval": step.approval is not None,
        "for_each": step.for_each is not None,
    }
