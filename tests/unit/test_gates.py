"""The operator's policy decides who approves: a plan can't name somebody else instead."""

from typing import Any

import pytest

from orchestrator.models.approval_policy import parse_policy
from orchestrator.planner.check import check_plan
from orchestrator.planner.gates import add_gates


def gate_of(approval: dict[str, Any] | None, policy: str) -> dict[str, Any]:
    """Return the gate of a client's step under a policy."""
    step = {"id": "a", "arm": "executor", "action": "wait", "inputs": {"seconds": 0}, "approval": approval}
    routes = {"a": {"arm": "executor", "action": "wait"}}
    plan = check_plan({"steps": [step]})
    [gated] = add_gates(plan, routes, policy=parse_policy(policy), tenant="acme").steps
    assert gated.approval is not None
    return dict(gated.approval)


@pytest.mark.parametrize("own", [None, {"ask": "May I?"}, {"ask": "May I?", "by": "key:mine"}])
def test_who_decides_by_policy_can_not_be_changed_by_a_plan(own: dict[str, Any] | None) -> None:
    assert gate_of(own, "effects=none by=key:auditor")["by"] == "key:auditor"


def test_a_policy_that_names_nobody_leaves_it_to_the_plan() -> None:
    assert gate_of({"ask": "May I?", "by": "the desk"}, "effects=none")["by"] == "the desk"
