"""A plan is accepted exactly when it can run; otherwise the error lists all its faults."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.models.errors import InvalidPlan
from orchestrator.models.plan import Plan
from orchestrator.models.task_contract import Contract, Criterion
from orchestrator.planner.check import PlanOrigin, check_plan
from tests.unit.plan_kit import SHA, faults_of, limited, wait


def test_all_faults_are_listed_at_once() -> None:
    found = faults_of(
        {
            "steps": [
                {"id": "A B", "arm": "executor", "action": "wait", "inputs": {"seconds": 1}},
                wait("twin", "nobody"),
                wait("twin"),
                {"id": "odd", "arm": "planner", "inputs": {}},
                {"id": "far", "arm": "executor", "action": "fly"},
                {
                    "id": "late",
                    "arm": "executor",
                    "action": "wait",
                    "inputs": {"seconds": 301},
                    "timeout_seconds": 0,
                },
                "step",
            ],
            "colour": "red",
        }
    )

    assert set(found) == {
        "plan",
        "steps.0.id",
        "steps.1.depends_on",
        "steps.2.id",
        "steps.3.arm",
        "steps.4.action",
        "steps.5.inputs.seconds",
        "steps.5.timeout_seconds",
        "steps.6",
    }


@pytest.mark.parametrize("plan", [{}, [], {"steps": []}, {"steps": None}, {"steps": "a"}])
def test_a_plan_has_at_least_one_step(plan: Any) -> None:
    assert "steps" in faults_of(plan)


def test_a_plan_has_at_most_two_hundred_steps() -> None:
    assert len(check_plan([wait(f"s{index}") for index in range(200)]).steps) == 200
    assert "200" in faults_of([wait(f"s{index}") for index in range(201)])["steps"]


@pytest.mark.parametrize(
    ("step", "arm", "action"),
    [
        ({"capabilities": ["timer"], "inputs": {"seconds": 1}}, "executor", "wait"),
        ({"arm": "executor", "inputs": {"action": "wait", "seconds": 1}}, "executor", "wait"),
        ({"arm": "judge", "inputs": {"value": 1, "check": {"equals": 1}}}, "judge", "verify"),
        ({"arm": "guardian", "action": "redact", "inputs": {"text": "x"}}, "safety-guardian", "redact"),
        ({"action": "collect", "inputs": {"values": 1}}, "retriever", "collect"),
    ],
)
def test_members_that_follow_from_others_may_be_left_out(step: dict[str, Any], arm: str, action: str) -> None:
    only = check_plan([{"id": "only", **step}]).steps[0]

    assert (only.arm, only.action) == (arm, action)
    assert "action" not in only.inputs


def test_members_that_do_not_follow_from_others_are_required() -> None:
    found = faults_of([{"id": "a", "arm": "coder"}, {"id": "b", "capabilities": ["code_analysis"]}])

    assert "syntax" in found["steps.0.action"]
    assert "metrics" in found["steps.0.action"]
    assert "coder.metrics: metrics reads one attachment" in found["steps.1.inputs.attachment"]


def test_an_arm_must_offer_the_capabilities() -> None:
    found = faults_of([wait("a", capabilities=["timer", "mind_reading"])])

    assert "mind_reading" in found["steps.0.capabilities"]


def test_a_referenced_step_is_a_dependency() -> None:
    plan = check_plan(
        [
            {
                "id": "all",
                "action": "collect",
                "inputs": {"values": {"deep": [{"$from": "one", "pointer": "/seconds"}]}},
            },
            wait("one"),
        ]
    )

    assert plan.steps[0].depends_on == ("one",)


def test_a_reference_may_replace_any_input_and_must_name_a_known_step() -> None:
    reference = {"$from": "one", "pointer": "/seconds"}

    assert check_plan([wait("one"), wait("two", inputs={"seconds": reference})])
    assert "steps.1.inputs" in faults_of([wait("one"), wait("two", inputs={"hours": reference})])
    assert "steps.1.depends_on" in faults_of(
        [wait("one"), wait("two", inputs={"seconds": {"$from": "three"}})]
    )


@pytest.mark.parametrize(
    ("pointer", "message"),
    [
        ("/second", "has no '/second'; there is /summary, /seconds"),
        ("/seconds/0", "has no '/seconds/0'"),
        ("/summary", "takes number, and /summary of step 'one' is string"),
    ],
)
def test_a_reference_to_what_the_action_never_puts_out_is_refused_in_any_plan(
    pointer: str, message: str
) -> None:
    found = faults_of([wait("one"), wait("two", inputs={"seconds": {"$from": "one", "pointer": pointer}})])

    assert message in found["steps.1.inputs.seconds"]


def test_a_reference_into_an_output_of_any_form_is_accepted() -> None:
    both = {"id": "both", "action": "collect", "inputs": {"values": {"a": {"$from": "one"}}}}
    after = wait("after", inputs={"seconds": {"$from": "both", "pointer": "/values/a/seconds"}})

    assert check_plan([wait("one"), both, after])


def test_a_placeholder_for_a_step_in_a_text_is_refused_and_other_braces_are_not() -> None:
    redact = {"id": "redact", "action": "redact"}
    template = redact | {"inputs": {"text": "Dear {{ name }}, {{one_more}}"}}
    placeholder = redact | {"inputs": {"text": "It took {{ one.seconds }} s"}}

    found = faults_of([wait("one"), placeholder])

    assert '{"$from": "one", "pointer": "/seconds"}' in found["steps.1.inputs.text"]
    assert check_plan([wait("one"), template])


@pytest.mark.parametrize(
    "reference", [{"$from": 1}, {"$from": "one", "pointer": "seconds"}, {"$from": "one", "to": 1}]
)
def test_a_malformed_reference_is_refused(reference: dict[str, Any]) -> None:
    found = faults_of(
        [wait("one"), {"id": "all", "action": "collect", "inputs": {"values": {"x": reference}}}]
    )

    assert "steps.1.inputs.values.x" in found


def test_repair_inputs_must_keep_the_contract_too() -> None:
    assert check_plan([wait("a", repair_inputs={"seconds": 2})]).steps[0].repair_inputs == {"seconds": 2}
    assert "steps.0.repair_inputs.seconds" in faults_of([wait("a", repair_inputs={"seconds": "2"})])


def test_an_unknown_member_is_told_with_the_members_there_are() -> None:
    found = faults_of(
        {
            "steps": [
                wait("a", input={}),
                wait("b", approval={"to": "Ann"}),
                wait("c", acceptance_criteria=[{"text": "x", "rule": {"exists": True}}]),
            ],
            "colour": "red",
        }
    )

    assert "has an unknown member 'input': the members are acceptance_criteria, " in found["steps.0"]
    assert "has an unknown member 'to': the members are " in found["steps.1.approval"]
    assert "'rule': the members are text, check" in found["steps.2.acceptance_criteria.0"]
    assert "has an unknown member 'colour': the members are " in found["plan"]


def test_a_criterion_is_a_text_or_a_text_with_a_valid_check() -> None:
    plan = check_plan([wait("a", acceptance_criteria=["fast", {"text": "slow", "check": {"exists": True}}])])
    found = faults_of(
        [wait("a", acceptance_criteria=[{"text": "x", "check": {"matches": "("}}, {"check": {}}])]
    )

    assert [criterion["text"] for criterion in plan.steps[0].acceptance_criteria] == ["fast", "slow"]
    assert set(found) == {"steps.0.acceptance_criteria.0.check", "steps.0.acceptance_criteria.1"}


def test_the_checks_of_a_verify_step_are_validated_with_the_plan() -> None:
    step = {"id": "v", "arm": "judge", "inputs": {"value": 1, "checks": [{"check": {"at_least": "many"}}]}}

    assert "steps.0.inputs.checks.0.check" in faults_of([step])


def test_a_step_that_reads_one_attachment_must_name_it_among_several() -> None:
    step = {"id": "parse", "arm": "coder", "action": "syntax"}
    named = {**step, "inputs": {"attachment": SHA}}

    assert "has none" in faults_of([step])["steps.0.inputs.attachment"]
    assert "name one" in faults_of([step], attachments=[SHA, "b" * 64])["steps.0.inputs.attachment"]
    assert "not an attachment" in faults_of([named], attachments=["b" * 64])["steps.0.inputs"]
    assert check_plan([step], attachments=[SHA])
    assert check_plan([named], attachments=[SHA, "b" * 64])


@pytest.mark.parametrize(
    ("estimates", "message"),
    [
        ([{"tokens": 60_000}, {"tokens": 50_000}], "take about 110,000, and max_tokens is 100,000"),
        ([{"dollars": 0.6}, {"dollars": 0.6}], "take about 1.2, and max_cost_dollars is 1.0"),
        ([{"seconds": 200}, {"seconds": 101}], "take about 301, and max_time_seconds is 300"),
    ],
)
def test_steps_that_need_more_than_the_budget_are_refused(
    estimates: list[dict[str, float]], message: str
) -> None:
    first, second = estimates
    apart = [wait("a", estimate=first), wait("b", estimate=second)]
    chain = [wait("a", estimate=first), wait("b", "a", estimate=second)]

    assert message in faults_of(chain, contract=Contract(goal="g"))["steps"]
    assert check_plan([chain[0], wait("b", "a")], contract=Contract(goal="g")).steps[0].estimate == first
    if "seconds" in first:
        assert check_plan(apart, contract=Contract(goal="g"))


@pytest.mark.parametrize("estimate", [5, {"tokens": -1}, {"seconds": "1"}, {"dollars": True}])
def test_an_estimate_has_numbers(estimate: Any) -> None:
    assert any("estimate" in field for field in faults_of([wait("a", estimate=estimate)]))


def test_a_plan_of_ours_checks_its_result_names_earlier_steps_and_fits_the_budget() -> None:
    sure = [{"text": "x", "check": {"exists": True}}]
    asks = {"arm": "retriever", "action": "answer", "inputs": {"question": "Why?"}}
    answers = [{**asks, "id": f"a{number}"} for number in range(4)]
    plan = [*answers, wait("last", acceptance_criteria=sure)]

    assert check_plan(plan, contract=limited(1_200), is_ours=True)
    assert "about 1,200" in faults_of(plan, contract=limited(1_199), is_ours=True)["steps"]
    assert "the last step must be judge.verify" in faults_of([wait("a")], is_ours=True)["steps.0"]
    assert (
        "must be judge.verify"
        in faults_of([wait("a", acceptance_criteria=sure), wait("b")], is_ours=True)["steps.1"]
    )
    early = [wait("a", "b", acceptance_criteria=sure), wait("b", acceptance_criteria=sure)]
    assert "comes later" in faults_of(early, is_ours=True)["steps.0.depends_on"]
    assert check_plan(early)
    assert check_plan(plan, contract=limited(1))


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=5),
                    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(
                        st.sampled_from(["steps", "id", "arm", "action", "inputs", "$from", "checks", "check",
                                         "depends_on", "capabilities", "acceptance_criteria", "text"]),
                        inner, max_size=5), max_leaves=20))  # fmt: skip
def test_any_json_value_gives_a_plan_or_an_invalid_plan_error(value: Any) -> None:
    twice = {"steps": [value, {"id": "a", "arm": "judge", "inputs": value}, value]}

    assert faults_of(twice)


def test_a_plan_read_back_from_its_record_is_the_same_and_still_legal() -> None:
    plan = check_plan([wait("a", acceptance_criteria=["x"]), wait("b", "a", optional=True)])

    assert Plan.from_record(plan.to_record()) == plan
    assert check_plan(plan.to_record()).steps == plan.steps


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (
            {"step": "ghost", "pointer": "", "exists": True},
            "there is no step 'ghost' in the plan; its steps are a, b",
        ),
        ({"pointer": "/ghost/count", "equals": 1}, "there is no step 'ghost'"),
        ({"step": "b", "same_as": {"step": "ghost"}}, "there is no step 'ghost'"),
        ({"step": "b", "same_as": {"pointer": "/ghost"}}, "there is no step 'ghost'"),
        ({"pointer": "/a/seconds", "equals": 1}, "the result has the last steps only"),
    ],
)
def test_a_criterion_of_the_task_that_names_an_unknown_step_is_a_fault(
    rule: dict[str, Any], message: str
) -> None:
    known = Criterion("known", {"pointer": "/b/seconds", "same_as": {"step": "a", "pointer": "/seconds"}})
    contract = Contract(goal="g", acceptance_criteria=(known, Criterion("words"), Criterion("unknown", rule)))

    faults = faults_of([wait("a"), wait("b", "a")], contract=contract)

    assert list(faults) == ["acceptance_criteria.2.check"]
    assert message in faults["acceptance_criteria.2.check"]


def test_a_plan_has_the_capabilities_and_the_arm_that_its_task_requires() -> None:
    steps = [wait("a")]

    assert check_plan(
        steps, contract=Contract(goal="g", required_capabilities=("timer",), assigned_arm="executor")
    )
    faults = faults_of(
        steps, contract=Contract(goal="g", required_capabilities=("timer", "lint"), assigned_arm="coder")
    )

    assert faults == {
        "required_capabilities": "no step of the plan offers lint",
        "assigned_arm": "no step of the plan is done by arm coder",
    }


def test_a_step_has_a_flag_whether_its_own_check_is_required() -> None:
    assert check_plan([wait("a")]).steps[0].required
    assert not check_plan([wait("a", required=False)]).steps[0].required
    assert faults_of([wait("a", required="no")]) == {"steps.0.required": "must be true or false"}


def test_a_plan_with_a_thousand_faults_lists_fifty_short_ones() -> None:
    wrong = {**{f"{number}{'x' * 900}": 1 for number in range(900)}, "id": "a" * 9_000}

    with pytest.raises(InvalidPlan, match=r"and \d{3,} more") as refused:
        check_plan([wrong, {"id": "b", "depends_on": ["y" * 90_000]}])

    assert len(refused.value.details["errors"]) == 50
    assert len(json.dumps(refused.value.details)) < 40_000
    assert len(refused.value.message) < 1_000


@pytest.mark.parametrize(
    ("count", "size", "words"), [(21, 1, "at most 20 JSON Schemas"), (3, 400, "at most 1000 objects")]
)
def test_a_plan_with_many_or_large_schemas_is_refused_before_any_is_read(
    count: int, size: int, words: str
) -> None:
    schema: dict[str, Any] = {"properties": {str(number): {} for number in range(size)}}
    criteria = [{"text": "fits", "check": {"schema": schema}}] * count

    with pytest.raises(InvalidPlan, match=words):
        check_plan(
            [{"id": f"s{number}", "acceptance_criteria": [item]} for number, item in enumerate(criteria)]
        )


def test_a_plan_recorded_by_a_release_that_bound_templates_is_read_and_checked_again() -> None:
    provenance = {"llm_used": False, "template_of": "task_0VbisZXHmaF93KJf", "values": [["20", "45"]]}
    recorded = {
        "steps": check_plan([wait("a")]).to_record()["steps"],
        "mode": "template",
        "rationale": "The plan of an earlier task",
        "provenance": provenance,
    }

    plan = Plan.from_record(recorded)

    assert plan.to_record() == {**recorded, "steps": plan.to_record()["steps"], "result": None}
    assert check_plan({"steps": recorded["steps"]}, origin=PlanOrigin(plan.mode)).steps == plan.steps
