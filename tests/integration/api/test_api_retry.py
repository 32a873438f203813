"""A retry over HTTP: accepted once, linked to its source, shown with the reused steps."""

import pytest

from orchestrator.models.verdict import Decision
from tests.integration.api.assertions import assert_problem, assert_status
from tests.integration.api.conftest import AsCaller, Caller, Octollm
from tests.integration.kit import Engineer, verdict, wait_step


@pytest.fixture
def ended(engineer: Engineer) -> str:
    """A completed task of two steps."""
    task_id = engineer.start(wait_step("a"), wait_step("b", "a"))
    for name in ("a", "b"):
        engineer.do(task_id, name, output={"summary": f"{name} is done"})
    engineer.judge(task_id, verdict(Decision.PASSED))
    return task_id


def test_a_retry_is_accepted_and_names_its_source(call: Caller, ended: str) -> None:
    answer = call("POST", f"/v1/tasks/{ended}/retry")

    assert answer.status_code == 202
    assert answer.json["task_id"] != ended
    assert answer.json["links"]["retry_of"] == f"/v1/tasks/{ended}"
    assert answer.headers["Location"] == answer.json["links"]["self"]
    assert call("GET", answer.headers["Location"]).json["retry_of"] == ended
    assert call("GET", f"/v1/tasks/{ended}").json["retry_of"] is None


@pytest.mark.parametrize("member", ["from_step", "from"])
def test_a_retry_s_status_shows_the_reused_steps(
    call: Caller, engineer: Engineer, ended: str, member: str
) -> None:
    again = call("POST", f"/v1/tasks/{ended}/retry", json={member: "b"}).json["task_id"]
    engineer.plan(again)

    status = call("GET", f"/v1/tasks/{again}").json

    assert_status(status)
    first, second = status["steps"]
    assert (first["status"], first["reused_from"], first["attempt"]) == ("done", ended, 0)
    assert first["summary"] == "a is done"
    assert (second["status"], second["reused_from"], second["summary"]) == ("queued", None, None)
    assert (status["progress"]["completed_steps"], status["progress"]["total_steps"]) == (1, 2)
    traced = call("GET", f"/v1/tasks/{again}/trace").json["steps"]
    assert traced[0]["result"]["output"] == {"summary": "a is done"}


def test_an_open_task_is_a_conflict(call: Caller, engineer: Engineer) -> None:
    task_id = engineer.start(wait_step("a"))

    assert_problem(call("POST", f"/v1/tasks/{task_id}/retry"), 409, "invalid_operation")


@pytest.mark.parametrize("body", [{"from_step": "c"}, {"from_step": ""}, {"from_step": 1}, {"to": "a"},
                                  {"from_step": "a", "from": "b"}])  # fmt: skip
def test_an_invalid_from_step_is_refused(call: Caller, ended: str, body: dict[str, object]) -> None:
    assert_problem(call("POST", f"/v1/tasks/{ended}/retry", json=body), 422, "validation_error")


def test_a_repeated_retry_is_the_same_task(call: Caller, ended: str) -> None:
    key = {"Idempotency-Key": "again"}
    first = call("POST", f"/v1/tasks/{ended}/retry", json={"from_step": "a"}, headers=key)

    same = call("POST", f"/v1/tasks/{ended}/retry", json={"from": "a"}, headers=key)
    other = call("POST", f"/v1/tasks/{ended}/retry", json={"from_step": "b"}, headers=key)
    submitted = call("POST", "/v1/tasks", json={"goal": "another"}, headers=key)

    assert (first.status_code, same.status_code) == (202, 200)
    assert same.json == first.json
    assert same.headers["Idempotency-Replayed"] == "true"
    assert_problem(other, 409, "idempotency_conflict")
    assert_problem(submitted, 409, "idempotency_conflict")


@pytest.mark.parametrize("wrong", ["a step that is not there", "a task that is not there"])
def test_an_invalid_retry_with_a_key_in_use_is_a_conflict(call: Caller, ended: str, wrong: str) -> None:
    key = {"Idempotency-Key": "again"}
    call("POST", f"/v1/tasks/{ended}/retry", headers=key)
    path, body = (ended, {"from_step": "c"}) if "step" in wrong else ("task_0000000000000000", {})

    answer = call("POST", f"/v1/tasks/{path}/retry", json=body, headers=key)

    assert_problem(answer, 409, "idempotency_conflict")


def test_a_retry_needs_the_scope_task_submit(as_caller: AsCaller, ended: str) -> None:
    reader = as_caller(scopes=("task:read", "task:cancel"))

    assert reader("POST", f"/v1/tasks/{ended}/retry").status_code == 403


def test_a_dry_run_says_what_would_run_and_writes_nothing(
    call: Caller, engineer: Engineer, ended: str
) -> None:
    key = {"Idempotency-Key": "look"}
    before = _written(engineer)

    answer = call("POST", f"/v1/tasks/{ended}/retry", json={"from": "b", "dry_run": True}, headers=key)

    assert answer.status_code == 200
    assert answer.json == {
        "is_planned": True,
        "reused": [{"step_id": "a", "arm_id": "executor", "task_id": ended}],
        "runs": [
            {
                "step_id": "b",
                "arm_id": "executor",
                "action": "wait",
                "reason": "from_step",
                "asks": False,
                "items": None,
                "estimated_tokens": 0,
                "estimated_cost_dollars": 0.0,
            }
        ],
        "judge": {"estimated_tokens": 0, "estimated_cost_dollars": 0.0},
        "estimated_tokens": 0,
        "estimated_cost_dollars": 0.0,
    }
    assert _written(engineer) == before
    assert call("POST", f"/v1/tasks/{ended}/retry", headers=key).status_code == 202


def test_a_dry_run_refuses_what_the_retry_refuses(
    call: Caller, as_caller: AsCaller, engineer: Engineer
) -> None:
    task_id = engineer.start(wait_step("a"))
    dry = {"dry_run": True}

    assert_problem(call("POST", f"/v1/tasks/{task_id}/retry", json=dry), 409, "invalid_operation")
    reader, other = as_caller(scopes=("task:read",)), as_caller(tenant="umbrella")
    assert reader("POST", f"/v1/tasks/{task_id}/retry", json=dry).status_code == 403
    assert other("POST", f"/v1/tasks/{task_id}/retry", json=dry).status_code == 404


def test_the_command_prints_what_would_run(octollm: Octollm, ended: str) -> None:
    status, printed = octollm("retry", ended, "--from", "b", "--dry-run")

    assert status == 0
    assert printed.splitlines() == [
        f"reuse  a  executor, from {ended}",
        "run    b  executor.wait, as asked",
        "before they used 0 tokens, for $0.0000",
    ]


def _written(engineer: Engineer) -> list[int]:
    tables = ("tasks", "rounds", "steps", "events", "traces", "ledger", "submissions")
    return [engineer.ask(f"SELECT count(*) AS n FROM {table}")[0]["n"] for table in tables]
