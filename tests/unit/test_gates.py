"""The operator's policy decides who approves: a plan can't name somebody else instead."""

from dataclasses import replace
from typing import Any

import pytest

from orchestrator.models.approval_policy import parse_policy
from orchestrator.models.arm_capability import ARMS
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


@pytest.mark.parametrize(("tenant", "asks"), [(None, False), ("acme", True)])
def test_only_an_operators_manifest_can_say_that_nobody_is_asked(
    monkeypatch: pytest.MonkeyPatch, tenant: str | None, asks: bool
) -> None:
    arm = ARMS["executor"]
    quiet = replace(arm.actions["wait"], approval="never")
    monkeypatch.setattr(
        ARMS, "_static", {**ARMS, "executor": replace(arm, tenant=tenant, actions={"wait": quiet})}
    )
    plan = check_plan(
        {"steps": [{"id": "a", "arm": "executor", "action": "wait", "inputs": {"seconds": 0}}]}, tenant="acme"
    )

    [step] = add_gates(
        plan, {"a": {"arm": "executor", "action": "wait"}}, policy=parse_policy("effects=none"), tenant="acme"
    ).steps

    assert (step.approval is not None) is asks


def test_a_policy_that_names_nobody_leaves_it_to_the_plan() -> None:
    assert gate_of({"ask": "May I?", "by": "the desk"}, "effects=none")["by"] == "the desk"
