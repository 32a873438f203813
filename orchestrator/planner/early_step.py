"""Tells which steps of a plan may begin before it is complete, and checks each as far as it can be checked alone."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from orchestrator.llm.structured_output import parse_value
from orchestrator.models.arm_capability import ARMS
from orchestrator.models.plan import PlanStep
from orchestrator.models.task_contract import Attachment, Contract
from orchestrator.planner.check import check_alone
from orchestrator.planner.offers import visible_arms
from orchestrator.planner.plan_answer import read_steps
from orchestrator.planner.plan_schema import PLAN_SCHEMA

_STEP_SCHEMA: Final[Mapping[str, Any]] = PLAN_SCHEMA["properties"]["steps"]["items"]
# a step that says anything else may depend on other steps, or on a person
_MEMBERS: Final = frozenset(
    ["action", "arm", "id", "description", "inputs", "depends_on", "acceptance_criteria", "capabilities"]
)


def read_early_step(
    text: str, contract: Contract, attachments: Sequence[Attachment], *, tenant: str | None
) -> PlanStep | None:
    """Return the step that `text`, a part of a model's answer, describes, if it may begin now; else None.

    It may if it is legal, waits for no other step and no person, and nothing that can do it changes anything outside
    or asks a model: if the plan turns out otherwise, only time was lost.
    """
    value, _ = parse_value(text, _STEP_SCHEMA)
    if not isinstance(value, Mapping) or _stated(value) - _MEMBERS:
        return None
    (record,) = read_steps({"steps": [value]}, arms=visible_arms(tenant))
    step = check_alone(record, tenant=tenant, attachments=attachments, contract=contract)
    return step if step and _may_begin(step) else None


def _stated(value: Mapping[str, Any]) -> set[str]:
    return {name for name, member in value.items() if member is not None}


def _may_begin(step: PlanStep) -> bool:
    if step.depends_on or step.approval is not None or _refers(step.inputs):
        return False
    for offer in step.candidates():
        arm = ARMS[offer.arm]
        action = arm.actions[offer.action]
        asks_model = action.least_tokens > 0 or (arm.asks_models and arm.kind != "builtin")
        if not arm.has_workers or action.effects == "write" or asks_model:
            return False
    return True


def _refers(inputs: Mapping[str, Any]) -> bool:
    """Tell whether inputs refer to anything, in whatever way: names of references begin with a dollar sign."""
    return '"$' in json.dumps(inputs)
