"""What a step of a plan may ask a person, and what the operator's policy adds to it."""

from dataclasses import replace
from typing import Any

import pytest

from orchestrator.models.approval import Gate, Proposal
from orchestrator.models.approval_policy import BY_DEFAULT, AskRule, parse_policy
from orchestrator.models.arm_capability import ARMS
from orchestrator.models.errors import InvalidPlan
from orchestrator.models.plan import Plan
from orchestrator.planner.check import PlanOrigin, check_plan
from orchestrator.planner.gates import add_gates

DAY = 86_400.0
EVERYTHING = (AskRule(effects=("none", "read", "write")),)


def plan_of(approval: Any = None, *, mode: str = "client", **more: Any) -> Plan:
    step = {"id": "a", "arm": "executor", "action": "wait", "inputs": {"seconds": 0}, "approval": approval}
    return check_plan({"steps": [{**step, **more}]}, attachments=(), origin=PlanOrigin(mode, "", {}))


def question_of(approval: Any = None, **inputs: Any) -> dict[str, Any] | None:
    step = {
        "id": "a",
        "arm": "human",
        "action": "answer",
        "inputs": {"question": "which?", **inputs},
        "approval": approval,
    }
    return check_plan({"steps": [step]}, attachments=()).steps[0].approval


def gate_of(plan: Plan, policy: tuple[AskRule, ...] = BY_DEFAULT, *, tenant: str = "acme") -> Gate | None:
    routes = {step.id: step.preferred._asdict() for step in plan.steps}
    approval = add_gates(plan, routes, policy=policy, tenant=tenant).steps[0].approval
    return None if approval is None else Gate.from_record(approval)


def test_a_step_without_approval_asks_nobody() -> None:
    assert plan_of().steps[0].approval is None


def test_an_approval_gets_its_defaults() -> None:
    assert plan_of({}).steps[0].approval == {
        "ask": "May step a run?",
        "by": None,
        "expires_in": DAY,
        "on_expiry": "reject",
        "allow": ["approve", "edit", "reject"],
    }


def test_an_approval_keeps_what_it_says() -> None:
    said = {
        "ask": "Pay?",
        "by": "finance",
        "expires_in": 60,
        "on_expiry": "fail",
        "allow": ["reject", "approve"],
    }

    assert plan_of(said).steps[0].approval == {**said, "allow": ["approve", "reject"]}


@pytest.mark.parametrize(
    ("approval", "field"),
    [
        ("yes", "approval"),
        ({"who": "me"}, "approval"),
        ({"ask": ""}, "approval.ask"),
        ({"ask": "x" * 2001}, "approval.ask"),
        ({"by": 7}, "approval.by"),
        ({"expires_in": 0.5}, "approval.expires_in"),
        ({"expires_in": 31 * DAY}, "approval.expires_in"),
        ({"expires_in": True}, "approval.expires_in"),
        ({"expires_in": float("nan")}, "approval.expires_in"),
        ({"on_expiry": "wait"}, "approval.on_expiry"),
        ({"on_expiry": ["reject"]}, "approval.on_expiry"),
        ({"allow": []}, "approval.allow"),
        ({"allow": ["reject"]}, "approval.allow"),
        ({"allow": ["answer"]}, "approval.allow"),
        ({"allow": [["approve"]]}, "approval.allow"),
    ],
)
def test_a_faulty_approval_is_named(approval: Any, field: str) -> None:
    with pytest.raises(InvalidPlan) as raised:
        plan_of(approval)

    assert [fault["field"] for fault in raised.value.details["errors"]] == [f"steps.0.{field}"]


def test_a_question_is_asked_in_its_own_words_and_can_only_be_answered_or_refused() -> None:
    asked = question_of({"by": "ann"})

    assert asked is not None
    assert (asked["ask"], asked["by"], asked["allow"]) == ("which?", "ann", ["answer", "reject"])
    assert question_of() == {**asked, "by": None}


@pytest.mark.parametrize(
    ("approval", "inputs", "field"),
    [
        ({"on_expiry": "approve"}, {}, "approval.on_expiry"),
        ({"allow": ["approve"]}, {}, "approval.allow"),
        (None, {"schema": {"type": "no such type"}}, "inputs.schema"),
        (None, {"schema": {"properties": {"a": {"pattern": "("}}}}, "inputs.schema"),
        (None, {"schema": {"$from": "b"}}, "inputs.schema"),
    ],
)
def test_a_faulty_question_is_named(approval: Any, inputs: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidPlan) as raised:
        question_of(approval, **inputs)

    assert f"steps.0.{field}" in {fault["field"] for fault in raised.value.details["errors"]}


def test_the_schemas_of_all_answers_together_are_bounded() -> None:
    large = {"enum": [{"a": number} for number in range(400)]}
    steps = [
        {"id": f"q{number}", "arm": "human", "action": "answer", "inputs": {"question": "?", "schema": large}}
        for number in range(4)
    ]

    with pytest.raises(InvalidPlan, match="together"):
        check_plan({"steps": steps}, attachments=())


def test_by_default_only_writes_of_a_model_s_plan_ask() -> None:
    assert parse_policy("effects=write plans=model") == BY_DEFAULT
    assert gate_of(plan_of(mode="llm")) is None
    write = replace(ARMS["executor"].actions["wait"], effects="write")
    (rule,) = BY_DEFAULT
    modes = ("llm", "client", "rules")
    assert [mode for mode in modes if rule.matches(write, arm="x", mode=mode, tenant="t")] == ["llm"]


def test_a_rule_asks_the_steps_that_meet_all_its_conditions() -> None:
    policy = parse_policy(
        "effects=none,read plans=client arms=executor tenants=acme by=ops expires_in=60; arms=git"
    )

    gate = gate_of(plan_of(), policy)

    assert gate is not None
    assert (gate.by, gate.expires_in, gate.ask) == ("ops", 60.0, "May executor.wait run as step a?")
    assert gate_of(plan_of(), policy, tenant="other") is None
    assert gate_of(plan_of(mode="rules"), policy) is None


@pytest.mark.parametrize(
    "text",
    ["", " ; ", "effects", "effects=all", "plans=me", "effects=read effects=write", "expires_in=0", "on_expiry=approve",
     "expires_in=9999999", "by=a,b", "who=me", "arms=", "effects=write,"],
)  # fmt: skip
def test_a_faulty_policy_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="effects="):
        parse_policy(text)


def test_the_policy_can_be_off() -> None:
    assert parse_policy("off") == ()


def test_where_asking_is_demanded_no_plan_lets_the_time_approve() -> None:
    asked = {"ask": "really?", "by": "me", "expires_in": 1, "on_expiry": "approve", "allow": ["approve"]}

    client = gate_of(plan_of(asked), EVERYTHING)
    model = gate_of(plan_of(asked, mode="llm"), EVERYTHING)

    assert client == Gate("really?", "me", 1.0, "reject", ("approve",))
    assert model == Gate("really?")


def test_a_plan_s_own_approval_holds_where_nothing_demands_it() -> None:
    asked = {"ask": "really?", "on_expiry": "approve"}

    assert gate_of(plan_of(asked)) == Gate("really?", on_expiry="approve")


def test_the_hash_of_a_proposal_does_not_depend_on_the_order_of_members() -> None:
    one = Proposal("a", "b", {"x": 1, "y": {"p": [1, 2], "q": None}})
    other = Proposal("a", "b", {"y": {"q": None, "p": [1, 2]}, "x": 1})

    assert one.sha256() == other.sha256()
    assert one.sha256() != Proposal("a", "b", {"x": 1, "y": {"p": [2, 1], "q": None}}).sha256()
