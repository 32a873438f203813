"""Changes what a retry repeats (inputs, model, instructions, criteria), and says which steps that touches."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from orchestrator.memory.rounds import RoundRecord
from orchestrator.memory.steps import StepOutcome
from orchestrator.models.arm_capability import ARMS, find_action
from orchestrator.models.errors import InvalidInput, InvalidPlan
from orchestrator.models.execution_state import PLAN_STEP
from orchestrator.models.fork import Fork
from orchestrator.models.plan import Offer, Plan
from orchestrator.models.record import encode
from orchestrator.models.task_contract import Attachment, Contract, Criterion
from orchestrator.planner.check import PlanOrigin, check_plan

MEMBER = "set"
"""The member of a request that says what is changed; faults are placed in it."""


def forked_contract(contract: Contract, fork: Fork | None) -> Contract:
    """Return the contract of a task that repeats one of this contract, with what the fork sets."""
    earlier = replace(contract.fork, replay_of=None, live_on_miss=False) if contract.fork else None
    if fork is None:
        return replace(contract, fork=earlier or None)
    criteria = contract.acceptance_criteria
    if fork.criteria is not None:
        criteria = tuple(Criterion(item["text"], item.get("check")) for item in fork.criteria)
    return replace(contract, acceptance_criteria=criteria, fork=fork.over(earlier) or None)


def forked_plan(
    plan: Plan,
    inputs: Mapping[str, Mapping[str, Any]],
    *,
    contract: Contract,
    tenant: str,
    attachments: Sequence[Attachment],
) -> Plan:
    """Return an earlier plan with other inputs, checked as a new one is. Raises InvalidPlan."""
    record = plan.to_record()
    steps = [
        {**step, "inputs": _changed(step["inputs"], inputs[step["id"]])} if step["id"] in inputs else step
        for step in record["steps"]
    ]
    return check_plan(
        {"steps": steps, "result": plan.result},
        tenant=tenant,
        attachments=attachments,
        contract=contract,
        origin=PlanOrigin(plan.mode, plan.rationale, plan.provenance),
    )


def check_fork(
    last: RoundRecord, fork: Fork, *, contract: Contract, tenant: str, attachments: Sequence[Attachment]
) -> Plan:
    """Return the plan that a fork runs. Raises InvalidInput, whose faults are placed in the request's `set`."""
    known = [step.id for step in last.plan.steps]
    for member, names in (("inputs", fork.inputs), ("prompt", fork.prompt)):
        for name in names:
            if name not in known and (member, name) != ("prompt", PLAN_STEP):
                raise InvalidInput.at(
                    f"{MEMBER}.{member}.{name[:64]}",
                    f"the plan that is repeated has no such step; it has {', '.join(known)[:500]}",
                )
    for step in last.plan.steps:
        if fork.prompt.get(step.id) is not None and not may_ask(step.preferred):
            raise InvalidInput.at(
                f"{MEMBER}.prompt.{step.id}",
                f"{step.preferred} asks no model: set its inputs instead",
            )
    try:
        return forked_plan(last.plan, fork.inputs, contract=contract, tenant=tenant, attachments=attachments)
    except InvalidPlan as wrong:
        raise _placed(wrong, fork, known) from wrong


def tells_planner(fork: Fork, before: Contract) -> bool:
    """Tell whether a fork of a task with the contract `before` tells the planner something new."""
    told = before.fork.prompt.get(PLAN_STEP) if before.fork else None
    return PLAN_STEP in fork.prompt and fork.prompt[PLAN_STEP] != told


def require_planner(fork: Fork, contract: Contract, from_step: str | None) -> None:
    """Raise InvalidInput if no model makes the plan, or if something is asked of steps that it may not have."""
    if contract.plan is not None or contract.recipe is not None:
        whose = "the client's own" if contract.plan is not None else f"that of the recipe {contract.recipe}"
        raise InvalidInput.at(
            f"{MEMBER}.prompt.{PLAN_STEP}", f"the plan is {whose}, so no planner can be told anything"
        )
    if from_step is not None:
        raise InvalidInput.at("from_step", "another plan is made, which may not have this step")
    _require_no_step(fork, "another plan is made, which may not have this step")


def require_no_steps(fork: Fork, task_id: str) -> None:
    """Raise InvalidInput for what a fork sets of the steps of a task that was never planned."""
    _require_no_step(fork, f"{task_id} was never planned, so it has no steps")


def _require_no_step(fork: Fork, why: str) -> None:
    for member, names in (("inputs", fork.inputs), ("prompt", fork.prompt)):
        for name in names:
            if (member, name) != ("prompt", PLAN_STEP):
                raise InvalidInput.at(f"{MEMBER}.{member}.{name[:64]}", why)


def touched(
    before: Plan, after: Plan, outcomes: Sequence[StepOutcome], *, fork: Fork, earlier: Fork | None
) -> dict[str, str]:
    """Return the steps whose own work the fork changes, and why: `inputs`, `prompt` or `model`.

    A step that is given what it has already is not touched. `earlier` is what the repeated task itself had set.
    """
    planned = {step.id: encode(step.inputs) for step in before.steps}
    asked = {row.name for row in outcomes if fork.model is not None and _asked_other(row, fork.model)}
    told = earlier.prompt if earlier else {}
    found: dict[str, str] = {}
    for step in after.steps:
        if step.id in fork.inputs and encode(step.inputs) != planned[step.id]:
            found[step.id] = "inputs"
        elif step.id in fork.prompt and fork.prompt[step.id] != told.get(step.id):
            found[step.id] = "prompt"
        elif step.id in asked:
            found[step.id] = "model"
    return found


def may_ask(offer: Offer) -> bool:
    """Tell whether an action may ask a model; one that is gone since may."""
    arm, action = ARMS.get(offer.arm), find_action(offer)
    if arm is None or action is None:
        return True
    return action.least_tokens > 0 or (arm.asks_models and arm.kind != "builtin")


def _asked_other(row: StepOutcome, model: str) -> bool:
    """Tell whether a step asked another model than this one; of a for_each it is only known that it may have."""
    if row.result is None:
        return False
    provenance = row.result.provenance
    if "part" in provenance:
        return may_ask(row.offer)
    return any(f"{one['provider']}:{one['model']}" != model for one in provenance.get("models", ()))


def _changed(inputs: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: value for name, value in {**inputs, **values}.items() if value is not None or name not in values
    }


def _placed(wrong: InvalidPlan, fork: Fork, known: Sequence[str]) -> InvalidPlan:
    """Return the error with the place of each fault in the request where it comes from there."""
    errors = [
        {**fault, "field": _place(fault["field"], fork, known)} for fault in wrong.details.get("errors", ())
    ]
    first = "{field}: {message}".format(**errors[0]) if errors else wrong.message
    return InvalidPlan(f"the fork can't run: {first}", details={**wrong.details, "errors": errors})


def _place(field: str, fork: Fork, known: Sequence[str]) -> str:
    first, _, rest = field.partition(".")
    if first == "acceptance_criteria" and fork.criteria is not None:
        return f"{MEMBER}.criteria.{rest}"
    number, _, member = rest.partition(".")
    if first == "steps" and number.isdigit() and int(number) < len(known):
        name, (part, _, inside) = known[int(number)], member.partition(".")
        if name in fork.inputs and part in ("inputs", "depends_on"):
            return ".".join(filter(None, [MEMBER, "inputs", name, inside if part == "inputs" else ""]))
    return f"plan.{field}"
