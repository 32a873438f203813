"""The collection of recipes: an operator's files join ours, and a wrong parameter or file says what to write."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.cache.exact import key_of, key_parts
from orchestrator.models.errors import InvalidInput
from orchestrator.models.task_contract import Attachment, Contract
from orchestrator.planner import recipes
from orchestrator.planner.recipe import plan_by_name
from orchestrator.planner.recipe_reader import recipe_of
from orchestrator.planner.recipes import Recipes, describe, find_recipe, loaded, read_recipes, read_values
from orchestrator.registry.sources import REGISTRY, find_recipes

NOTES = Attachment("b" * 64, "notes.txt", "text/plain", 1)
MINIMAL: dict[str, Any] = {
    "recipe": "say-it",
    "version": "1.0.0",
    "description": "Says it.",
    "parameters": {"text": {"type": "question", "description": "what to say"}},
    "steps": [
        {
            "id": "say",
            "arm": "retriever",
            "action": "collect",
            "inputs": {"values": "{text}"},
            "acceptance_criteria": [{"text": "It is said", "check": {"pointer": "/values", "exists": True}}],
        }
    ],
    "result": {"$from": "say", "pointer": "/values"},
}


def read(directory: Path, **files: str) -> Recipes:
    for name, text in files.items():
        stem, _, ending = name.rpartition("_")
        (directory / f"{stem}.{ending}").write_text(text)
    return read_recipes(find_recipes(REGISTRY, str(directory)))


def reason(directory: Path, **changes: Any) -> str:
    """Return why a recipe with these changes is left out."""
    (left_out,) = read(directory, mine_json=json.dumps({**MINIMAL, **changes})).left_out
    assert left_out["file"] == "mine.json"
    return left_out["reason"]


def test_an_operator_s_recipe_is_read_from_json_or_yaml(tmp_path: Path) -> None:
    other = "recipe: other\nversion: '1'\ndescription: d\nsteps:\n- {id: a, arm: executor, action: wait}\n"

    found = read(tmp_path, mine_json=json.dumps(MINIMAL), other_yaml=other, notes_txt="no recipe")

    assert found.left_out == ()
    assert list(found.by_name)[-2:] == ["say-it", "other"]
    assert describe(found.by_name["say-it"])["parameters"] == [
        {
            "name": "text",
            "schema": {"type": "string", "minLength": 1, "maxLength": 1000},
            "description": "what to say",
            "required": True,
            "default": None,
        }
    ]
    assert found.by_name["say-it"].origin == "RECIPES_PATH"


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"recipe": "Say it"}, "recipe: must be 1 to 64 of a-z"),
        ({"recipe": "scan-files"}, "there is a recipe scan-files already: choose another name"),
        ({"step": []}, "has an unknown member 'step': the members are description"),
        ({"steps": []}, "steps: must be a list of at least one step"),
        ({"needs": "money"}, "needs: must be one of nothing, text"),
        ({"verbs": "find"}, "verbs: must be a list of words"),
        (
            {"parameters": {"text": "word"}},
            "types.toml defines: 'word'; the plain ones are any, array, boolean",
        ),
        ({"parameters": {"text": {"kind": "string"}}}, "parameters.text: must be a type, or an object of"),
        ({"parameters": {"text": {"type": "count", "default": "x"}}}, "parameters.text.default: "),
        ({"parameters": {}}, "steps: {text} is no value of this recipe: declare it in parameters"),
        ({"parameters": {"text": {"type": "string", "from_goal": "guess"}}}, "must be one of terms, phrase"),
        ({"result": {"$for_each": "text", "value": "x"}}, "'text', which is no group of files"),
    ],
)
def test_a_faulty_recipe_of_an_operator_is_left_out_with_what_to_write(
    tmp_path: Path, changes: dict[str, Any], told: str
) -> None:
    assert told in reason(tmp_path, **changes)


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("mine_json", "{", "is not JSON"),
        ("mine_json", "[]", "must be an object"),
        ("mine_yaml", "a: [", "is not plain YAML"),
        ("mine_yaml", "a: &x 1\nb: *x", "aliases"),
        ("mine_yml", "a: 2026-11-28", "not plain YAML"),
        ("mine_json", " " * 300_000, "is larger than 262,144 bytes"),
    ],
)
def test_a_file_that_is_no_recipe_does_not_stop_the_others(
    tmp_path: Path, name: str, text: str, told: str
) -> None:
    found = read(tmp_path, **{name: text}, good_json=json.dumps(MINIMAL))

    (left_out,) = found.left_out
    assert told in left_out["reason"]
    assert "say-it" in found.by_name


def test_a_directory_that_is_not_there_is_told(tmp_path: Path) -> None:
    (left_out,) = read_recipes(find_recipes(REGISTRY, str(tmp_path / "none"))).left_out

    assert left_out["file"] == "none"
    assert "correct RECIPES_PATH" in left_out["reason"]


def test_a_text_becomes_the_number_the_truth_value_or_the_list_that_is_wanted(tmp_path: Path) -> None:
    types = {"count": "count", "flag": "boolean", "names?": ["string"], "text": "string"}
    steps = [{"id": "a", "arm": "executor", "action": "wait"}]
    found = read(
        tmp_path, mine_json=json.dumps({**MINIMAL, "parameters": types, "steps": steps, "result": None})
    )
    recipe = found.by_name["say-it"]

    values, wrong = read_values(recipe, {"count": "5", "flag": "true", "names": "a, b", "text": "5"})

    assert (values, wrong) == ({"count": 5, "flag": True, "names": ["a", "b"], "text": "5"}, [])
    assert read_values(recipe, {"count": 1, "flag": False, "text": ""})[0].keys() == {"count", "flag", "text"}
    assert dict(read_values(recipe, {"count": "x", "flag": "yes", "text": "", "other": 1})[1]) == {
        "other": "recipe say-it has no parameter of this name; it has: count, flag, names, text",
        "count": "must be of type integer",
        "flag": "must be of type boolean",
    }


def test_a_recipe_s_name_and_its_parameters_make_a_plan() -> None:
    contract = Contract(goal="any", recipe="find-lines", parameters={"pattern": "x+", "literal": "true"})

    made = plan_by_name(contract, [NOTES])

    assert made.steps[0].inputs == {"pattern": "x+", "literal": True, "ignore_case": False}
    assert made.provenance["recipe"] == "find-lines"
    assert made.provenance["filling"]["pattern"] == "x+"
    assert made.rationale == "Recipe find-lines is the one that the task names."


@pytest.mark.parametrize(
    ("recipe", "parameters", "attachments", "field", "told"),
    [
        ("find-line", {}, [NOTES], "recipe", "no recipe 'find-line'; known: answer-question, "),
        ("find-lines", {}, [NOTES], "parameters.pattern", "needs it: a regular expression"),
        (
            "find-lines",
            {"motif": "x"},
            [NOTES],
            "parameters.motif",
            "it has: pattern, literal, ignore_case",
        ),
        ("find-lines", {"pattern": "x"}, [], "attachments", "it needs attached files or a context"),
    ],
)
def test_what_is_wrong_with_a_named_recipe_is_said_where_it_is(
    recipe: str, parameters: dict[str, Any], attachments: list[Attachment], field: str, told: str
) -> None:
    with pytest.raises(InvalidInput) as refused:
        plan_by_name(Contract(goal="any", recipe=recipe, parameters=parameters), attachments)

    error = refused.value.details["errors"][0]
    assert error["field"] == field
    assert told in error["message"]


def test_a_user_s_value_is_never_filled_again() -> None:
    contract = Contract(goal="{pattern}", recipe="find-lines", parameters={"pattern": "{goal}"})

    assert plan_by_name(contract, [NOTES]).steps[0].inputs["pattern"] == "{goal}"


def test_a_recipe_and_its_parameters_are_a_part_of_the_cache_s_key_and_survive_the_database() -> None:
    one = Contract(goal="look", recipe="find-lines", parameters={"pattern": "a"})
    others = [
        Contract(goal="look"),
        replace(one, recipe="find-todos"),
        replace(one, parameters={"pattern": "b"}),
    ]

    keys = [
        key_of(key_parts(contract, tenant="acme", scopes=(), environment="e")) for contract in [one, *others]
    ]

    assert len(set(keys)) == 4
    assert Contract.from_record(one.to_record()) == one


def test_all_built_in_recipes_are_usable() -> None:
    assert loaded().left_out == ()
    assert find_recipe("find-todos").parameters[0].default


def test_a_step_of_a_recipe_runs_for_each_value_of_a_list(monkeypatch: pytest.MonkeyPatch) -> None:
    step = {
        **MINIMAL["steps"][0],
        "for_each": "{words}",
        "inputs": {"values": {"word": {"$item": ""}}},
        "acceptance_criteria": [{"text": "all are said", "check": {"pointer": "/failed", "equals": 0}}],
    }
    words = {"words": {"type": {"type": "array", "items": "question"}}}
    made = recipe_of({**MINIMAL, "parameters": words, "steps": [step], "result": None}, "x")
    monkeypatch.setattr(recipes, "loaded", lambda: Recipes({"say-it": made}))

    (planned,) = plan_by_name(Contract("g", recipe="say-it", parameters={"words": ["a", "b"]}), []).steps

    assert planned.for_each == ["a", "b"]
    with pytest.raises(ValueError, match=r"'words', which is no group of files: write \{words\} for a list"):
        recipe_of({**MINIMAL, "parameters": words, "steps": [{**step, "for_each": "words"}]}, "x")
