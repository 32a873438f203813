"""Recipes over HTTP: they are listed with their parameters, and a task names one with values for them."""

from typing import Any

import pytest

from orchestrator.memory import task_lists
from tests.integration.api.assertions import assert_problem
from tests.integration.api.conftest import Caller

NAMED = {"goal": "look", "recipe": "find-lines", "parameters": {"pattern": "late"}, "context": "a late one"}


def test_the_recipes_are_listed_with_what_they_need_and_take(call: Caller) -> None:
    listed = call("GET", "/v1/recipes").json

    found = {recipe["recipe"]: recipe for recipe in listed["recipes"]}
    assert {"audit-python-package", "find-lines", "find-todos"} <= set(found)
    assert found["find-lines"]["needs"] == "attached files or a context"
    assert [one["name"] for one in found["find-lines"]["parameters"] if one["required"]] == ["pattern"]
    assert listed["left_out"] == []


def test_a_task_names_a_recipe_and_its_contract_shows_it(call: Caller) -> None:
    accepted = call("POST", "/v1/tasks", json=NAMED)

    assert accepted.status_code == 202
    contract = call("GET", accepted.json["links"]["trace"]).json["contract"]
    assert (contract["recipe"], contract["parameters"]) == ("find-lines", {"pattern": "late"})


@pytest.mark.parametrize(
    ("changes", "field", "told"),
    [
        ({"recipe": "unknown"}, "recipe", "no recipe 'unknown'; known: answer-question"),
        ({"parameters": {"motif": "late"}}, "parameters.motif", "it has: pattern, literal, ignore_case"),
        ({"parameters": {"pattern": "late", "literal": 3}}, "parameters.literal", "boolean"),
        ({"parameters": {}}, "parameters.pattern", "recipe find-lines needs it"),
        ({"context": None}, "attachments", "it needs attached files or a context"),
        ({"plan": [{"id": "a", "arm": "executor", "action": "wait"}]}, "recipe", "beside a plan"),
        ({"recipe": None}, "parameters", "name it in `recipe`"),
    ],
)
def test_what_is_wrong_with_a_recipe_is_told_at_submission(
    call: Caller, changes: dict[str, Any], field: str, told: str
) -> None:
    body = {name: value for name, value in {**NAMED, **changes}.items() if value is not None}

    problem = assert_problem(call("POST", "/v1/tasks", json=body), 422, "validation_error")

    errors = {error["field"]: error["message"] for error in problem["details"]["errors"]}
    assert told in errors[field]


def test_a_key_sent_with_other_parameters_is_refused(call: Caller) -> None:
    key = {"Idempotency-Key": "recipes-1"}
    first = call("POST", "/v1/tasks", json=NAMED, headers=key)
    again = call("POST", "/v1/tasks", json=NAMED, headers=key)
    other = call("POST", "/v1/tasks", json={**NAMED, "parameters": {"pattern": "early"}}, headers=key)

    assert first.json["task_id"] == again.json["task_id"]
    assert_problem(other, 409, "idempotency_conflict")


def test_a_secret_in_a_parameter_is_redacted(call: Caller) -> None:
    secret = "AKIA" + "IOSFODNN7" + "EXAMPLE"

    accepted = call("POST", "/v1/tasks", json={**NAMED, "parameters": {"pattern": secret}})

    contract = call("GET", accepted.json["links"]["trace"]).json["contract"]
    assert secret not in str(contract)
    assert accepted.json["redacted"]


def test_tasks_are_listed_by_goal_recipe_arm_and_age(call: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(task_lists, "MAX_SEEN", 3)
    plan = [{"id": "a", "arm": "executor", "action": "wait", "inputs": {"seconds": 0}}]
    ids = [
        call("POST", "/v1/tasks", json={"goal": f"Wait {n}", "plan": plan}).json["task_id"] for n in range(5)
    ]
    named = call("POST", "/v1/tasks", json={**NAMED, "goal": "Look at 100%"}).json["task_id"]

    def listed(**query: str) -> list[str]:
        found: list[str] = []
        cursor: dict[str, str] = {}
        while True:
            page = call("GET", "/v1/tasks", query_string={**query, **cursor, "limit": "1"}).json
            found += [task["task_id"] for task in page["tasks"]]
            if page["next_cursor"] is None:
                return found
            cursor = {"cursor": page["next_cursor"]}

    assert listed(recipe="find-lines") == listed(goal="at 100%") == [named]
    assert listed(goal="WAIT") == ids[::-1]
    assert listed(goal="WAIT 0", status="queued") == ids[:1]
    assert listed(arm="coder") == listed(since="2100-01-01T00:00:00Z") == []
    assert listed(since="2020-01-01T00:00:00Z") == [named, *ids[::-1]]
