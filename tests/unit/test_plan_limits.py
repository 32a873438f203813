"""A plan that is made again has no arm and no effect that the first one did not have, and pays for new work only."""

from typing import Any

import pytest

from orchestrator.models.errors import InvalidPlan
from orchestrator.models.task_contract import Budget, Contract
from orchestrator.planner.check import PlanOrigin, check_plan
from orchestrator.planner.limits import PlanLimits, rights_of, unchanged
from tests.plug_in_arms import TENANT, action, added, plug_in

MAILER = plug_in("acme/mailer", action("read"), action("send", effects="write"), tenant=TENANT)
OTHER = plug_in("acme/other", action("look"), tenant=TENANT)


def step(name: str, *after: str, **more: Any) -> dict[str, Any]:
    inputs = {"seconds": 1}
    return {
        "id": name,
        "arm": "executor",
        "action": "wait",
        "inputs": inputs,
        "depends_on": [*after],
        "acceptance_criteria": [{"text": "it waits", "check": {"pointer": "/seconds", "at_least": 0}}],
        **more,
    }


def mail(name: str, verb: str = "read", arm: str = "acme/mailer") -> dict[str, Any]:
    return step(name, arm=arm, action=verb, inputs={"query": "x"})


def again(steps: list[dict[str, Any]], first: list[dict[str, Any]], *done: str, **contract: Any) -> Any:
    """Check a plan that is made again after `first`, of which some steps are done."""
    earlier = check_plan(first, tenant=TENANT)
    arms, effects = rights_of(earlier)
    limits = PlanLimits(arms, effects, earlier, frozenset(done))
    return check_plan(
        steps,
        tenant=TENANT,
        contract=Contract(goal="g", **contract),
        is_ours=True,
        origin=PlanOrigin("llm", limits=limits),
    )


def test_the_arms_of_the_first_plan_and_the_built_in_ones_may_be_used() -> None:
    with added(MAILER, OTHER):
        made = again([mail("b"), step("c")], [mail("a")])

    assert [one.arm for one in made.steps] == ["acme/mailer", "executor"]


@pytest.mark.parametrize(
    ("extra", "said"),
    [
        (mail("b", "look", "acme/other"), "arm: must be one of"),
        (mail("b", "look", "other"), "arm: must be one of"),
        (step("b", arm="human", action="ask", inputs={"question": "May I?"}), "arm: must be one of"),
        (
            mail("b", "send"),
            "has the effects write, and the actions of the task's first plan allow read at most",
        ),
    ],
)
def test_no_other_arm_no_person_and_no_stronger_effect_may_be_used(extra: dict[str, Any], said: str) -> None:
    with added(MAILER, OTHER), pytest.raises(InvalidPlan, match=said):
        again([extra, step("c")], [mail("a")])


def test_a_step_that_names_no_arm_is_not_done_by_another_one() -> None:
    with added(MAILER, OTHER), pytest.raises(InvalidPlan, match="must be one of"):
        again([{**step("b"), "arm": None, "action": "look", "inputs": {"query": "x"}}], [mail("a")])


def test_the_tasks_own_limit_of_effects_still_holds() -> None:
    with added(MAILER), pytest.raises(InvalidPlan, match="the task's `effects` allow none at most"):
        again([mail("b")], [mail("a")], effects="none")


def test_the_plan_that_failed_is_refused_and_one_with_another_check_is_not() -> None:
    told_otherwise = {**step("a"), "description": "now it works", "estimate": {"seconds": 2}}
    checked_otherwise = step(
        "a", acceptance_criteria=[{"text": "t", "check": {"exists": True, "pointer": ""}}]
    )

    with pytest.raises(InvalidPlan, match="this is the plan whose result was rejected"):
        again([told_otherwise], [step("a")])
    again([checked_otherwise], [step("a")])


def test_only_steps_that_are_not_done_must_fit_into_what_is_left() -> None:
    dear = {"estimate": {"tokens": 900}}

    again([step("a", **dear), step("b")], [step("a", **dear)], "a", budget=Budget(max_tokens=100))
    with pytest.raises(InvalidPlan, match="the steps take about 900, and max_tokens is 100"):
        again([step("a", **dear), step("b")], [step("a", **dear)], budget=Budget(max_tokens=100))


@pytest.mark.parametrize(
    ("change", "same"),
    [
        ({}, {"a", "b", "c"}),
        ({"b": {"inputs": {"seconds": 2}}}, {"a"}),
        ({"a": {"action": "lint"}}, set()),
        ({"c": {"depends_on": ["b", "a"]}}, {"a", "b"}),
        ({"b": {"description": "other", "acceptance_criteria": [], "optional": True}}, {"a", "b", "c"}),
    ],
)
def test_a_step_is_unchanged_if_its_work_is_and_that_of_all_steps_before_it(
    change: dict[str, dict[str, Any]], same: set[str]
) -> None:
    earlier = check_plan([step("a"), step("b", "a"), step("c", "b")]).steps
    files: dict[str, Any] = {"inputs": {}} if any("action" in one for one in change.values()) else {}
    now = check_plan(
        [{**step("a"), **change.get("a", {}), **(files if "a" in change else {})},
         {**step("b", "a"), **change.get("b", {})}, {**step("c", "b"), **change.get("c", {})}],
        attachments=["a" * 64],
    ).steps  # fmt: skip

    assert unchanged(now, earlier, among={"a", "b", "c"}) == same
    assert unchanged(now, earlier, among={"b", "c"}) == set()
