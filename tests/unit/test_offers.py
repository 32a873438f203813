"""A step may be done by each arm that fits it: a client's named arm is pinned, another plan's is preferred."""

from typing import Any

import pytest

from orchestrator.models.arm_capability import ARMS, ArmCapability
from orchestrator.models.errors import InvalidPlan
from orchestrator.models.plan import Offer, Plan, PlanStep
from orchestrator.models.task_contract import Contract
from orchestrator.planner.check import PlanOrigin, check_plan
from orchestrator.planner.offers import split_name
from tests.plug_in_arms import TENANT, action, added, copy_of, plug_in

ONE, TWO = plug_in("one", action("look")), plug_in("two", action("look"))
LOOK = {"id": "a", "action": "look", "inputs": {"query": "rain"}}
SEARCH = {"id": "a", "arm": "retriever", "action": "search", "inputs": {"query": "rain"}}
SURE = [{"text": "found", "check": {"pointer": "/found", "at_least": 0}}]


def check(*steps: dict[str, Any], arms: tuple[ArmCapability, ...] = (ONE, TWO), **more: Any) -> Plan:
    with added(*arms):
        return check_plan([*steps], tenant=TENANT, **more)


def only(*steps: dict[str, Any], **more: Any) -> PlanStep:
    return check(*steps, **more).steps[0]


def faults_of(*steps: dict[str, Any], **more: Any) -> dict[str, str]:
    with pytest.raises(InvalidPlan) as refused:
        check(*steps, **more)
    return {fault["field"]: fault["message"] for fault in refused.value.details["errors"]}


@pytest.mark.parametrize("how", [{"action": "look"}, {"action": None, "capabilities": ["look"]}])
def test_a_step_that_names_no_arm_may_be_done_by_each_that_fits(how: dict[str, Any]) -> None:
    step = only({**LOOK, **how})

    assert step.offers == (Offer("one", "look"), Offer("two", "look"))
    assert step.preferred == Offer("one", "look")
    assert step.excluded == {}


def test_capabilities_may_be_offered_by_different_actions() -> None:
    other = plug_in("two", action("watch", capabilities=["look", "wait"]))

    step = only({"id": "a", "capabilities": ["look"], "inputs": {"query": "x"}}, arms=(ONE, other))

    assert step.offers == (Offer("one", "look"), Offer("two", "watch"))


def test_an_arm_that_a_client_names_is_pinned() -> None:
    step = only({**LOOK, "arm": "two"})

    assert (step.preferred, step.offers, step.excluded) == (Offer("two", "look"), (), {})


@pytest.mark.parametrize(
    "how", [{"is_ours": True}, {"origin": PlanOrigin("llm")}, {"origin": PlanOrigin("rules")}]
)
def test_an_arm_that_another_plan_names_is_preferred(how: dict[str, Any]) -> None:
    exists = [{"text": "x", "check": {"exists": True, "pointer": ""}}]

    step = only({**LOOK, "arm": "two", "acceptance_criteria": exists}, **how)

    assert step.offers == (Offer("two", "look"), Offer("one", "look"))


def test_arms_whose_input_schema_refuses_the_inputs_are_excluded_with_the_reason() -> None:
    other = plug_in("two", action("look", {"query": {"type": "integer"}}))

    step = only(LOOK, arms=(other, ONE))

    assert (step.preferred, step.offers) == (Offer("one", "look"), ())
    assert "two.look" in step.excluded
    assert step.excluded["two.look"].startswith("inputs.query: ")


def test_of_a_named_arm_s_actions_with_the_capabilities_those_that_take_the_inputs_are_kept() -> None:
    step = {"id": "a", "arm": "retriever", "capabilities": ["citation_generation"]}

    assert only({**step, "inputs": {"question": "Why?"}}).candidates() == (Offer("retriever", "answer"),)
    assert only({**step, "inputs": {"query": "why"}}).candidates() == (Offer("retriever", "search"),)


def test_an_arm_and_an_action_may_have_dots_in_their_names() -> None:
    arms = {"acme.io/git": plug_in("acme.io/git", action("log.short"))}

    assert split_name("acme.io/git.log.short", arms) == ("acme.io/git", "log.short")
    assert split_name("guardian.scan", ARMS) == ("safety-guardian", "scan")
    assert split_name("tentacle.scan", ARMS) == ("tentacle", "scan")
    assert split_name("scan", ARMS) == ("", "scan")


def test_a_step_that_no_arm_can_do_has_a_fault_for_each() -> None:
    other = plug_in("two", action("look", {"place": {"type": "string"}}))

    faults = faults_of({**LOOK, "inputs": {"query": 1}}, arms=(ONE, other))

    assert faults["steps.0.inputs.query"].startswith("one.look: ")
    assert "two.look: " in faults["steps.0.inputs"]


def test_a_step_needs_an_action_or_capabilities() -> None:
    arm = plug_in("one", action("look"), action("listen"))

    faults = faults_of({"id": "a", "arm": "one", "inputs": {"query": "x"}}, arms=(arm,))

    assert faults == {"steps.0.action": "is required, or capabilities: one of one.look, one.listen"}


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"effects": "write"}, "has the effects write, and retriever.search has read"),
        ({"capabilities": ("keyword_search",)}, "does not offer citation_generation"),
        ({"input_schema": action("x", {"place": {}})["input_schema"]}, "inputs: "),
    ],
)
def test_an_arm_stands_in_for_a_preferred_one_only_if_it_offers_the_same(
    changed: dict[str, Any], reason: str
) -> None:
    search = ARMS["retriever"].actions["search"]
    arms = (plug_in("same", copy_of(search)), plug_in("other", copy_of(search, **changed)))

    step = only({**SEARCH, "acceptance_criteria": SURE}, is_ours=True, arms=arms)

    assert step.offers == (Offer("retriever", "search"), Offer("same", "search"))
    assert step.excluded["other.search"].startswith(reason)


def test_an_arm_without_the_checks_of_the_preferred_one_does_not_stand_in_for_it() -> None:
    verify = ARMS["judge"].actions["verify"]
    arms = (plug_in("lenient", copy_of(verify, met=())),)
    inputs = {"value": 1, "check": {"equals": 1}}

    step = only({"id": "a", "arm": "judge", "action": "verify", "inputs": inputs}, is_ours=True, arms=arms)

    assert step.offers == ()
    assert step.excluded == {"lenient.verify": "is not always checked as judge.verify is"}


def test_an_arm_that_a_tenant_registered_takes_no_step_from_an_operator_s_arm() -> None:
    arms = (plug_in(f"{TENANT}/same", copy_of(ARMS["retriever"].actions["search"]), tenant=TENANT),)

    step = only({**SEARCH, "acceptance_criteria": SURE}, is_ours=True, arms=arms)

    assert (step.arm, step.offers) == ("retriever", ())
    assert "registered by a tenant" in step.excluded[f"{TENANT}/same.search"]


def test_inputs_must_fit_the_preferred_arm_even_if_another_one_takes_them() -> None:
    search = ARMS["retriever"].actions["search"]
    loose = plug_in("loose", copy_of(search, input_schema={"type": "object"}))

    faults = faults_of({**SEARCH, "inputs": {"quarry": 1}}, is_ours=True, arms=(loose,))

    assert "quarry" in faults["steps.0.inputs"]


def test_of_arms_that_no_plan_prefers_those_with_the_least_effects_are_kept() -> None:
    writer = plug_in("one", action("look", effects="write"))

    step = only(LOOK, arms=(writer, TWO))

    assert (step.preferred, step.offers) == (Offer("two", "look"), ())
    assert step.excluded == {"one.look": "has the effects write, and two.look has read"}


def test_a_step_that_the_assigned_arm_can_do_is_done_by_it() -> None:
    step = only(LOOK, contract=Contract(goal="g", assigned_arm="two"))

    assert (step.preferred, step.offers) == (Offer("two", "look"), ())
    assert step.excluded == {"one.look": "the task assigns arm two"}


def test_a_person_is_asked_only_by_a_step_that_names_the_arm() -> None:
    person = plug_in("person", action("look"), kind="human")

    assert only(LOOK, arms=(person, ONE)).candidates() == (Offer("one", "look"),)
    assert only({**LOOK, "arm": "person"}, arms=(person, ONE)).candidates() == (Offer("person", "look"),)
    assert only(LOOK, arms=(person,)).preferred == Offer("person", "look")


def test_a_tenant_may_use_its_own_arms_by_their_short_names_and_those_of_no_other() -> None:
    own, foreign = (
        plug_in("acme/own", action("look"), tenant="acme"),
        plug_in("x/own", action("spy"), tenant="x"),
    )

    assert only({**LOOK, "arm": "own"}, arms=(own, foreign)).arm == "acme/own"
    assert only({**LOOK, "arm": "acme/own"}, arms=(own, foreign)).arm == "acme/own"
    assert "x/own" not in faults_of({**LOOK, "arm": "x/own"}, arms=(own, foreign))["steps.0.arm"]
    assert "spy" not in faults_of({**LOOK, "action": "spy"}, arms=(own, foreign))["steps.0.action"]


def test_a_plan_with_a_step_of_stronger_effects_than_the_task_allows_is_refused() -> None:
    writer = plug_in("crm", action("send", effects="write"))
    step = {"id": "b", "arm": "crm", "action": "send", "inputs": {"query": "x"}}
    steps = [{"id": "a", "action": "collect", "inputs": {"values": 1}}, step]

    assert check(*steps, arms=(writer,), contract=Contract(goal="g"))
    faults = faults_of(*steps, arms=(writer,), contract=Contract(goal="g", effects="read"))

    expected = "crm.send has the effects write, and the task's `effects` allow read at most"
    assert faults == {"steps.1.action": expected}


def test_an_arm_with_stronger_effects_than_the_task_allows_is_excluded() -> None:
    writer = plug_in("one", action("look", effects="read"))
    still = plug_in("two", action("look", effects="none"))

    step = only(LOOK, arms=(writer, still), contract=Contract(goal="g", effects="none"))

    assert step.preferred == Offer("two", "look")
    assert "the task's `effects` allow none at most" in step.excluded["one.look"]


def test_all_arms_that_are_kept_fit_the_steps_that_read_their_outputs() -> None:
    text = {"type": "object", "properties": {"seen": {"type": "string"}}, "additionalProperties": False}
    number = {"type": "object", "properties": {"seen": {"type": "number"}}, "additionalProperties": False}
    arms = (
        plug_in("one", action("look", output_schema=text), action("tell")),
        plug_in("two", action("look", output_schema=number), action("tell", {"query": {"type": "integer"}})),
        plug_in("three", action("look", output_schema={"type": "object", "additionalProperties": False})),
    )
    reads = {"id": "b", "action": "tell", "inputs": {"query": {"$from": "a", "pointer": "/seen"}}}

    first, second = check(LOOK, reads, arms=arms).steps

    assert (first.preferred, first.offers) == (Offer("one", "look"), ())
    assert "step 'b' reads it" in first.excluded["two.look"]
    assert "has no '/seen'" in first.excluded["three.look"]
    assert (second.preferred, second.offers) == (Offer("one", "tell"), ())
    assert "two.tell" in second.excluded


def test_a_preferred_arm_that_does_not_fit_the_other_steps_gives_way_to_one_that_does() -> None:
    empty = {"type": "object", "additionalProperties": False}
    arms = (plug_in("one", action("look", output_schema=empty)), TWO)
    reads = {"id": "b", "action": "collect", "inputs": {"values": {"$from": "a", "pointer": "/seen"}}}

    step = check(LOOK, reads, arms=arms).steps[0]

    assert (step.preferred, step.offers) == (Offer("two", "look"), ())


def test_a_plan_is_read_from_its_record_with_its_offers() -> None:
    plan = check(LOOK)

    assert Plan.from_record(plan.to_record()) == plan
    with added(ONE, TWO):
        again = check_plan(plan.to_record()["steps"], tenant=TENANT, origin=PlanOrigin("llm"))
    assert again.steps == plan.steps


def test_a_plan_of_one_arm_for_each_step_has_the_record_of_earlier_releases() -> None:
    record = check_plan([{"id": "a", "action": "collect", "inputs": {"values": 1}}]).to_record()

    assert not {"offers", "excluded"} & record["steps"][0].keys()
