"""A model is told every action in full, and its plan's schema is in the subset that all providers enforce."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import pytest

from orchestrator.llm.prompt import load_prompt
from orchestrator.llm.strict_schema import resolve, strict_schema
from orchestrator.models.arm_capability import ARMS, ArmCapability
from orchestrator.models.task_contract import Attachment
from orchestrator.planner.catalogue import ESSENTIAL, MAX_ACTIONS, choose_actions, describe_actions
from orchestrator.planner.check import check_plan
from orchestrator.planner.plan_answer import read_steps
from orchestrator.planner.plan_schema import PLAN_SCHEMA, enforced_schema
from orchestrator.rules.json_schema import faults
from tests.fake_llm.answers import example

ALL = choose_actions("")
MANUAL = Attachment("b" * 64, "manual.md", "text/markdown", 1)
PORTABLE = {
    "type",
    "properties",
    "required",
    "additionalProperties",
    "items",
    "anyOf",
    "enum",
    "$ref",
    "$defs",
}


def schemas_in(schema: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield the schema and all schemas in it."""
    yield schema
    parts = [
        *schema.get("anyOf", ()),
        *schema.get("properties", {}).values(),
        *schema.get("$defs", {}).values(),
    ]
    for part in [*parts, *([schema["items"]] if "items" in schema else [])]:
        yield from schemas_in(part)


def step_schema(name: str) -> Mapping[str, Any]:
    return next(
        item
        for item in enforced_schema(ALL)["properties"]["steps"]["items"]["anyOf"]
        if item["properties"]["action"]["enum"] == [name]
    )


def meant(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the definition that a schema refers to, or itself, unless that is a reference to a step."""
    is_step = schema.get("$ref") == "#/$defs/reference"
    found: Mapping[str, Any] = schema if is_step else resolve(schema, enforced_schema(ALL))
    return found


def in_example() -> dict[str, Any]:
    """Return the worked example of the prompt."""
    text = load_prompt("planner").text
    plan: dict[str, Any] = json.JSONDecoder().raw_decode(text, text.index('{"rationale"'))[0]
    return plan


def many_arms(count: int) -> Mapping[str, ArmCapability]:
    """Return our arms and another one with `count` actions, of which each is about another trade."""
    wait = ARMS["executor"].actions["wait"]
    actions = {
        f"trade_{number}": replace(
            wait, name=f"trade_{number}", description=f"Does the work of trade {number:04}x.", capabilities=()
        )
        for number in range(count)
    }
    own = replace(ARMS["executor"], arm_id="own", name="Own", actions=MappingProxyType(actions))
    return {**ARMS, "own": own}


def test_the_strict_schema_has_only_what_all_providers_enforce() -> None:
    schema = enforced_schema(ALL)

    for part in schemas_in(schema):
        assert part.keys() <= PORTABLE
        if part.get("type") == "object":
            assert part["additionalProperties"] is False
            assert part["required"] == list(part["properties"])
        objects = [one for one in part.get("anyOf", ()) if one.get("type") == "object"]
        first = [json.dumps(next(iter(one["properties"].items()))) for one in objects]
        assert len(set(first)) == len(first)
    assert strict_schema(PLAN_SCHEMA) is None


def test_a_model_may_ask_for_an_approval_and_is_charged_for_it_only_where_something_is_changed() -> None:
    wait = ARMS["executor"].actions["wait"]
    schema = enforced_schema({"x.read": wait, "x.write": replace(wait, effects="write")})
    read, write = schema["properties"]["steps"]["items"]["anyOf"]
    plan = {
        "rationale": "r",
        "confidence": 1,
        "steps": [{"action": "wait", "id": "a", "approval": {"ask": "now?"}}],
    }

    assert "approval" not in read["properties"]
    assert [part["type"] for part in write["properties"]["approval"]["anyOf"]] == ["object", "null"]
    assert faults(PLAN_SCHEMA, plan) == []


def test_a_definition_never_refers_to_itself() -> None:
    definitions = enforced_schema(ALL)["$defs"]

    used = {
        name: {part["$ref"].rpartition("/")[2] for part in schemas_in(schema) if "$ref" in part}
        for name, schema in definitions.items()
    }

    while used:
        ends = {name for name, others in used.items() if not others & used.keys()}
        assert ends
        used = {name: others for name, others in used.items() if name not in ends}


@pytest.mark.parametrize("name", ALL)
def test_each_action_has_its_own_typed_inputs_and_each_value_may_be_a_reference(name: str) -> None:
    inputs = meant(step_schema(name)["properties"]["inputs"])

    assert list(inputs["properties"]) == list(ALL[name].input_schema["properties"])
    for member, schema in inputs["properties"].items():
        one = meant(schema)
        choices = one.get("anyOf", [one])
        assert ({"$ref": "#/$defs/reference"} in choices) is not member.startswith("attachment")
        assert ({"$ref": "#/$defs/file"} in choices) is (member == "attachment")
        assert ({"type": "null"} in choices) is (member not in ALL[name].input_schema["required"])


def test_the_schema_is_written_alike_in_every_process() -> None:
    members = list(step_schema("coder.syntax")["properties"])

    assert members == ["action", "id", "description", "inputs", "depends_on", "acceptance_criteria"]
    assert list(enforced_schema(ALL)) == ["type", "$defs", "properties", "required", "additionalProperties"]


@pytest.mark.parametrize("name", ALL)
def test_a_value_of_the_strict_schema_is_a_value_of_the_short_one(name: str) -> None:
    schema = enforced_schema(ALL)
    step = example(step_schema(name), root=schema)
    plan = {
        "rationale": "so",
        "confidence": 1,
        "result": {"$from": "a", "pointer": ""},
        "steps": [step],
        "flow": [],
    }

    assert faults(dict(schema), plan) == []
    assert faults(PLAN_SCHEMA, plan) == []


def test_the_example_in_the_prompt_is_a_plan_of_both_schemas_and_legal() -> None:
    plan = in_example()

    steps = read_steps(plan)

    assert faults(PLAN_SCHEMA, plan) == []
    assert [step.id for step in check_plan(steps, attachments=[MANUAL.sha256], is_ours=True).steps] == [
        "find",
        "answer",
        "verify",
    ]


def test_every_action_is_described_in_full_with_the_types_of_its_inputs_and_outputs() -> None:
    listed = describe_actions(ALL)

    assert (
        " retriever.search(query: string, limit?: integer 1-50, attachments?: [file])\n"
        "  -> query: string, terms: [string], matches: [{file: string, line: integer, end_line: integer, "
    ) in listed
    for name in ALL:
        assert ALL[name].description in listed
    assert "  whole: reads long documents from beginning to end" in listed
    assert "planner" not in listed
    assert len(listed.encode()) < 16_000


def test_the_prompt_ends_with_the_actions_so_that_its_beginning_never_varies() -> None:
    assert load_prompt("planner").text.endswith("{{catalogue}}")


def test_up_to_forty_actions_all_are_told_whatever_the_goal() -> None:
    arms = many_arms(MAX_ACTIONS - len(ALL))

    assert choose_actions("one", arms=arms) == choose_actions("two", arms=arms)
    assert len(choose_actions("one", arms=arms)) == MAX_ACTIONS


def test_of_many_actions_those_are_told_whose_words_the_goal_has_and_the_essential_ones() -> None:
    arms = many_arms(200)
    goal = "Run the tests of this package with pytest; do the work of trade 0123x and scan it for secrets"

    chosen = choose_actions(goal, arms=arms)

    assert {"own.trade_123", "executor.tests", "safety-guardian.scan", *ESSENTIAL} <= set(chosen)
    assert len(chosen) == MAX_ACTIONS
    assert chosen == choose_actions(goal, arms=arms)
    assert [name for name in chosen if name.startswith("executor")] == [
        name for name in ALL if name.startswith("executor") and name in chosen
    ]


def test_of_many_actions_those_of_a_required_arm_or_capability_are_told() -> None:
    arms = many_arms(200)

    chosen = choose_actions("anything", required=["safety-guardian", "timer"], arms=arms)

    assert {"safety-guardian.redact", "executor.wait"} <= set(chosen)
