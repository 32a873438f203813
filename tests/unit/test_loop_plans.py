"""The members for_each, max_items and when of a plan's steps: what is accepted, and what a fault says."""

from typing import Any

import pytest

from orchestrator.models.errors import InvalidPlan
from orchestrator.models.plan import Plan
from orchestrator.planner.check import check_plan
from orchestrator.planner.plan_answer import read_steps
from orchestrator.planner.references import resolve

FIND = {"id": "find", "arm": "retriever", "action": "search", "inputs": {"query": "refund"}}


def each(**more: Any) -> dict[str, Any]:
    """Return a step that runs for each match of FIND."""
    return {
        "id": "fix",
        "arm": "retriever",
        "action": "search",
        "for_each": {"$from": "find", "pointer": "/matches"},
        "inputs": {"query": {"$item": "/quote"}},
        **more,
    }


def checked(*steps: dict[str, Any]) -> Plan:
    """Return the plan of the steps."""
    return check_plan(list(steps), attachments=["0" * 64])


def fault_of(*steps: dict[str, Any]) -> str:
    """Return the first fault of the steps."""
    with pytest.raises(InvalidPlan) as refused:
        checked(*steps)
    return "{field}: {message}".format(**refused.value.details["errors"][0])


def test_a_loop_depends_on_the_step_that_makes_its_list() -> None:
    assert checked(FIND, each()).steps[1].depends_on == ("find",)


def test_the_items_are_checked_against_the_schema_of_the_list() -> None:
    assert "steps.1.for_each: must be a list" in fault_of(
        FIND, each(for_each={"$from": "find", "pointer": "/summary"})
    )
    assert "steps.1.for_each: the output of step 'find' (retriever.search) has no '/hits'" in fault_of(
        FIND, each(for_each={"$from": "find", "pointer": "/hits"})
    )
    assert "the items of for_each have no '/nothing'" in fault_of(
        FIND, each(inputs={"query": {"$item": "/nothing"}})
    )
    assert "takes string, and /line is number" in fault_of(FIND, each(inputs={"query": {"$item": "/line"}}))


def test_a_loop_puts_out_all_of_its_items() -> None:
    after = {"id": "after", "arm": "retriever", "action": "collect"}
    good = {"values": {"all": {"$from": "fix", "pointer": "/items/0/matches"}}}
    bad = {"values": {"all": {"$from": "fix", "pointer": "/matches"}}}

    assert checked(FIND, each(), {**after, "inputs": good})
    assert "has no '/matches'; there is /summary, /items, /count, /failed, /errors" in fault_of(
        FIND, each(), {**after, "inputs": bad}
    )


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"max_items": 0}, "max_items: must be a whole number from 1 to 1,000"),
        ({"max_items": 1001}, "max_items: must be a whole number from 1 to 1,000"),
        ({"for_each": [1, 2, 3], "max_items": 2}, "has 3 items, and max_items is 2: raise max_items"),
        ({"for_each": "find"}, "for_each: must be a list, or a reference to one"),
        ({"for_each": [{"$from": "find"}]}, "for_each: must hold values"),
        ({"for_each": {"$file": {"from": "find"}}}, "for_each: must be a list, or a reference to one"),
        ({"for_each": None}, "$item is the item of a step with for_each, and this step has none"),
        ({"inputs": {"query": {"$item": "quote"}}}, 'must be {"$item": pointer}'),
    ],
)
def test_a_wrong_loop_is_told_before_anything_runs(more: dict[str, Any], message: str) -> None:
    assert message in fault_of(FIND, each(**more))


def test_a_condition_names_an_earlier_step_and_a_place_in_its_output() -> None:
    rule = {"step": "find", "pointer": "/found", "at_least": 1}

    assert checked(FIND, each(when=rule)).steps[1].when == rule
    assert "when: must name an earlier step" in fault_of(
        FIND, each(when={"pointer": "/found", "at_least": 1})
    )
    assert "has no '/hits'" in fault_of(FIND, each(when={**rule, "pointer": "/hits"}))
    assert "there is no step 'lost'" in fault_of(FIND, each(when={**rule, "step": "lost"}))
    assert "depend on each other" in fault_of({**FIND, "when": {**rule, "step": "fix"}}, each())


def test_a_plan_with_a_loop_is_read_back_as_it_was_written() -> None:
    plan = checked(FIND, each(max_items=7, when={"step": "find", "pointer": "/found", "at_least": 1}))

    assert Plan.from_record(plan.to_record()) == plan


def test_an_items_value_is_never_taken_for_a_reference() -> None:
    stolen = {"$from": "secrets", "pointer": ""}

    found = resolve({"a": {"$item": ""}, "b": {"$item": "/x"}}, {"secrets": "!"}, item={"x": stolen})

    assert found == {"a": {"x": stolen}, "b": stolen}


def test_a_reference_with_a_default_needs_no_output() -> None:
    assert resolve([{"$from": "gone", "default": 7}], {}) == [7]


def test_a_models_way_to_write_a_loop_is_read() -> None:
    [step] = read_steps(
        {
            "steps": [
                {
                    "action": "retriever.search",
                    "id": "fix",
                    "inputs": {"query": {"$item": "quote"}},
                }
            ],
            "flow": [
                {"step": "fix", "for_each": {"$from": "find", "pointer": "matches"}, "when": None},
                {"step": "fix", "when": {"step": "find", "check": {"at_least": 1, "pointer": "/found"}}},
            ],
        }
    )

    assert step["inputs"]["query"] == {"$item": "/quote"}
    assert step["for_each"] == {"$from": "find", "pointer": "/matches"}
    assert step["when"] == {"step": "find", "at_least": 1, "pointer": "/found"}


def test_the_items_of_all_steps_are_bounded_together() -> None:
    loops = [each(id=f"fix-{number}", max_items=1_000) for number in range(21)]
    short = [
        each(id=f"fix-{number}", for_each=["a"], inputs={"query": {"$item": ""}}) for number in range(150)
    ]

    assert "steps: have up to 21,000 items in all, and at most 20,000" in fault_of(FIND, *loops)
    assert len(checked(FIND, *loops[:20]).steps) == 21
    assert len(checked(*short).steps) == 150


def test_a_models_loop_over_no_step_is_a_fault() -> None:
    step = {"action": "retriever.search", "id": "fix", "inputs": {"query": "a"}}

    with pytest.raises(InvalidPlan, match=r"flow\.0: there is no step 'lost'"):
        read_steps({"steps": [step], "flow": [{"step": "lost", "for_each": {"$from": "find"}}]})
