"""A step that names a recipe stands for the recipe's steps, and its answer is read as any other output."""

from typing import Any

import pytest

from orchestrator.models.errors import InvalidPlan
from orchestrator.models.plan import Plan
from orchestrator.models.task_contract import Attachment
from orchestrator.planner import recipes
from orchestrator.planner.check import check_plan
from orchestrator.planner.recipe_reader import recipe_of
from orchestrator.planner.recipes import Recipes, loaded

PACKAGE = "a" * 64
NUMBERS = {"id": "find", "arm": "retriever", "action": "collect", "inputs": {"values": {"word": "TODO"}}}


def plan(*steps: dict[str, Any]) -> Plan:
    return check_plan(list(steps), attachments=[PACKAGE])


def faults(*steps: dict[str, Any]) -> dict[str, str]:
    with pytest.raises(InvalidPlan) as refused:
        plan(*steps)
    return {error["field"]: error["message"] for error in refused.value.details["errors"]}


def test_a_sub_plan_becomes_the_recipe_s_steps_and_one_with_its_result() -> None:
    made = plan(
        {"id": "todos", "plan": "find-todos", "with": {"pattern": "TODO"}},
        {
            "id": "all",
            "arm": "retriever",
            "action": "collect",
            "inputs": {"values": {"$from": "todos", "pointer": "/values/by_file"}},
        },
    )

    steps = {step.id: step for step in made.steps}
    assert list(steps) == ["todos-find", "todos-places", "todos", "all"]
    assert steps["todos-find"].inputs == {"pattern": "TODO"}
    assert steps["todos-places"].depends_on == ("todos-find",)
    assert steps["todos"].inputs["values"]["todos"] == {"$from": "todos-find", "pointer": "/matches"}
    assert set(steps["todos"].depends_on) == {"todos-places", "todos-find"}
    assert steps["all"].depends_on == ("todos",)


def test_values_of_earlier_steps_are_given_to_a_sub_plan_whose_first_steps_wait() -> None:
    made = plan(
        NUMBERS,
        {"id": "before", "arm": "executor", "action": "wait", "inputs": {"seconds": 0}},
        {
            "id": "lines",
            "plan": "find-lines",
            "with": {"pattern": {"$from": "find", "pointer": "/values/word"}},
            "depends_on": ["before"],
        },
    )

    steps = {step.id: step for step in made.steps}
    # the recipe's own step find is another one than the plan's
    assert steps["lines-find"].inputs["pattern"] == {"$from": "find", "pointer": "/values/word"}
    assert set(steps["lines-find"].depends_on) == {"find", "before"}
    assert steps["lines-places"].depends_on == ("lines-find",)


def test_a_sub_plan_takes_files_as_values_and_its_criteria_name_its_own_steps() -> None:
    made = plan({"id": "audit", "plan": "audit-python-package", "with": {"attachment": PACKAGE}})

    names = {step.id for step in made.steps}
    assert {step.inputs["attachment"] for step in made.steps if "attachment" in step.inputs} == {PACKAGE}
    assert all(set(step.depends_on) <= names for step in made.steps)
    assert made.steps[-1].id == "audit"


@pytest.mark.parametrize(
    ("step", "field", "told"),
    [
        ({"plan": "find-todo"}, "steps.0.plan", "there is no recipe 'find-todo'; known: answer-question"),
        ({"plan": "find-lines"}, "steps.0.with.pattern", "recipe find-lines needs it"),
        (
            {"plan": "find-todos", "with": {"motif": "x"}},
            "steps.0.with.motif",
            "it has: pattern",
        ),
        ({"plan": "find-todos", "with": 1}, "steps.0.with", "must be an object"),
        ({"plan": "find-todos", "arm": "coder"}, "steps.0", "a step with a plan has no member 'arm'"),
        ({"plan": "run-script"}, "steps.0.plan", "can't be a part of a plan"),
        ({"plan": "find-todos", "id": "A"}, "steps.0.id", "must be 1 to 64"),
        ({"plan": ["find-todos"]}, "steps.0.plan", "there is no recipe"),
    ],
)
def test_what_is_wrong_with_a_sub_plan_is_told(step: dict[str, Any], field: str, told: str) -> None:
    assert told in faults({"id": "a", **step})[field]


def test_a_fault_names_the_step_that_was_sent_also_behind_a_sub_plan() -> None:
    found = faults(
        {"id": "todos", "plan": "find-todos"},
        {"id": "late", "arm": "executor", "action": "wait", "inputs": {"seconds": "x"}},
        {"id": "todos", "arm": "executor", "action": "wait", "inputs": {"seconds": 1}},
        {"id": "B", "arm": "executor", "action": "wait", "inputs": {"seconds": 1}},
    )

    assert set(found) == {"steps.1.inputs.seconds", "steps.2.id", "steps.3.id"}
    assert found["steps.2.id"] == "'todos' is already the id of steps.0"


def test_a_fault_of_a_recipe_s_step_names_the_sub_plan_and_the_step() -> None:
    found = faults(
        NUMBERS,
        {"id": "lines", "plan": "find-lines", "with": {"pattern": {"$from": "nobody"}}},
    )

    assert "step 'lines-find' of the recipe: depends_on: there is no step 'nobody'" in found["steps.1"]


def nested(monkeypatch: pytest.MonkeyPatch, *steps: dict[str, Any]) -> None:
    """Add a recipe `nested` with these steps."""
    made = recipe_of({"recipe": "nested", "version": "1", "description": "d", "steps": list(steps)}, "test")
    known = Recipes({**loaded().by_name, "nested": made})
    for module in (recipes, __import__("orchestrator.planner.subplans", fromlist=["loaded"])):
        monkeypatch.setattr(module, "loaded", lambda: known)


def test_a_recipe_may_contain_others(monkeypatch: pytest.MonkeyPatch) -> None:
    nested(monkeypatch, {"id": "b", "plan": "find-todos"})

    assert [step.id for step in plan({"id": "a", "plan": "nested"}).steps] == [
        "a-b-find",
        "a-b-places",
        "a-b",
        "a",
    ]


def test_recipes_that_contain_themselves_end(monkeypatch: pytest.MonkeyPatch) -> None:
    nested(monkeypatch, *({"id": f"b{number}", "plan": "nested"} for number in range(50)))

    assert "at most 4 deep" in faults({"id": "a", "plan": "nested"})["steps.0.plan"]


def test_a_plan_of_many_sub_plans_has_too_many_steps() -> None:
    many = [{"id": f"a{number}", "plan": "find-todos"} for number in range(10_000)]

    assert "a plan may have at most" in faults(*many)["steps"]


def test_a_file_of_an_earlier_step_or_of_the_task_is_given_to_a_sub_plan() -> None:
    make = {"id": "make", "arm": "executor", "action": "script", "inputs": {"attachments": [PACKAGE]}}
    left = {
        "id": "left",
        "plan": "convert-table",
        "with": {"attachment": {"$file": {"from": "make"}}, "to": "json"},
    }
    named = {
        "id": "named",
        "plan": "convert-table",
        "with": {"attachment": {"$file": {"name": "a.csv"}}, "to": "json"},
    }

    made = check_plan([make, left, named], attachments=[Attachment(PACKAGE, "a.csv", "text/csv", 3)])

    steps = {step.id: step for step in made.steps}
    assert "make" in steps["left-convert"].depends_on
    assert steps["named-convert"].inputs["attachment"] == PACKAGE


def test_only_the_ids_of_steps_are_renamed_in_a_sub_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    values = {"id": "x", "depends_on": ["y"], "one": {"$from": "b", "pointer": "/values"}}
    collect = {"arm": "retriever", "action": "collect", "depends_on": ["b"], "inputs": {"values": values}}
    nested(monkeypatch, {**NUMBERS, "id": "b"}, {"id": "c", **collect})

    steps = {step.id: step for step in plan({"id": "a", "plan": "nested"}).steps}

    assert steps["a-c"].depends_on == ("a-b",)
    assert steps["a-c"].inputs == {"values": {**values, "one": {"$from": "a-b", "pointer": "/values"}}}
