"""Responses match the shapes that OctoLLM's published Python and TypeScript clients parse, in every task status."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from orchestrator.models.verdict import Decision
from tests.integration.api.conftest import Caller
from tests.integration.kit import Engineer, verdict, wait_step

SHAPES = {
    path.stem: json.loads(path.read_text())
    for path in sorted((Path(__file__).parents[2] / "client_shapes").iterdir())
}


@pytest.fixture(params=sorted(SHAPES))
def parse(request: pytest.FixtureRequest) -> Any:
    """Assert that a response has the shape that one of the clients parses."""

    def check(answer: Any, shape: str) -> Any:
        whole = SHAPES[request.param]
        jsonschema.Draft202012Validator({"$ref": f"#/$defs/{shape}", **whole}).validate(
            answer.get_json(force=True)
        )
        return answer.json

    return check


def test_a_submission_in_both_dialects(call: Caller, parse: Any) -> None:
    ours = {"constraints": ["be brief"], "context": {"a": 1}, "budget": {"max_cost_dollars": 1}}
    other = {"constraints": {"length": "brief"}, "context": "a text", "budget": {"max_cost_usd": 1}}

    for members in (ours, other):
        parse(call("POST", "/v1/tasks", json={"goal": "do it well", **members}), "accepted")


def test_a_task_in_every_status(call: Caller, parse: Any, engineer: Engineer) -> None:
    ids = {
        "queued": call("POST", "/v1/tasks", json={"goal": "do it"}).json["task_id"],
        "processing": _under_way(engineer),
        "completed": _judged(engineer, Decision.PASSED),
        "failed": _judged(engineer, Decision.FAILED),
        "cancelled": _under_way(engineer),
    }
    parse(call("DELETE", f"/v1/tasks/{ids['cancelled']}"), "task")

    for status, task_id in ids.items():
        assert parse(call("GET", f"/v1/tasks/{task_id}"), "task")["status"] == status


def test_a_task_in_every_phase(call: Caller, parse: Any, engineer: Engineer) -> None:
    task_id = engineer.submit(wait_step("a"))
    steps = [parse(call("GET", f"/v1/tasks/{task_id}"), "task")["progress"]["current_step"]]
    engineer.plan(task_id)
    engineer.do(task_id, "a")
    engineer.take(task_id, "$judge")
    steps.append(parse(call("GET", f"/v1/tasks/{task_id}"), "task")["progress"]["current_step"])

    assert steps == ["preprocessing", "validation"]


def test_arms_and_health(call: Caller, parse: Any) -> None:
    parse(call("GET", "/v1/arms"), "arms")
    parse(call("GET", "/v1/capabilities"), "arms")
    parse(call("GET", "/v1/health"), "health")


def test_problems(call: Caller, parse: Any) -> None:
    task_id = "task_0000000000000000"

    for answer in (
        call("GET", f"/v1/tasks/{task_id}"),
        call("POST", "/v1/tasks", json={"goal": ""}),
        call("POST", "/v1/tasks", data=b"{", content_type="application/json"),
        call("GET", "/v1/tasks", headers={"Authorization": "Bearer x"}),
        call("GET", "/v1/nothing"),
    ):
        assert answer.status_code >= 400
        parse(answer, "problem")


def _under_way(engineer: Engineer) -> str:
    task_id = engineer.start(wait_step("a"), wait_step("b", "a"))
    engineer.do(task_id, "a")
    return task_id


def _judged(engineer: Engineer, decision: Decision) -> str:
    task_id = engineer.start(wait_step("a"))
    engineer.do(task_id, "a")
    engineer.judge(task_id, verdict(decision))
    return task_id
