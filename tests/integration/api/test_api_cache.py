"""The result cache over HTTP: the directives of a request, and the Cache-Status of the response."""

from typing import Any

import pytest

from orchestrator.settings import Settings
from tests.integration.api.assertions import assert_problem, assert_status
from tests.integration.api.conftest import AsCaller, Caller
from tests.integration.cache.kit import GOAL, Company
from tests.integration.kit import Engineer


@pytest.fixture
def company(engineer: Engineer, settings: Settings) -> Company:
    return Company(engineer.engine, settings)


def post(call: Caller, headers: dict[str, str] | None = None, **members: Any) -> Any:
    return call("POST", "/v1/tasks", json={"goal": GOAL, **members}, headers=headers or {})


def solve(call: Caller, company: Company) -> str:
    """Complete a task with the goal, and return its id."""
    task_id = str(post(call).json["task_id"])
    company.run(task_id)
    return task_id


def test_a_miss_then_a_collapsed_request_then_a_hit(call: Caller, company: Company) -> None:
    miss = post(call)
    collapsed = post(call)
    company.run(miss.json["task_id"])
    hit = post(call)

    assert [answer.status_code for answer in (miss, collapsed, hit)] == [202, 202, 202]
    assert miss.headers["Cache-Status"] == "octollm; fwd=miss"
    assert miss.json["cache"] is None
    assert collapsed.headers["Cache-Status"] == "octollm; fwd=miss; collapsed; detail=coalesced"
    assert collapsed.json["cache"]["source_task_id"] == miss.json["task_id"]
    name, state, ttl, detail = hit.headers["Cache-Status"].split("; ")
    assert (name, state, detail) == ("octollm", "hit", "detail=exact")
    assert 3500 < int(ttl.removeprefix("ttl=")) <= 3600
    assert hit.json["status"] == "completed"


def test_the_status_of_a_hit_names_its_source(call: Caller, company: Company) -> None:
    source = solve(call, company)

    status = call("GET", f"/v1/tasks/{post(call).json['task_id']}").json

    assert_status(status)
    assert (status["status"], status["progress"]["percentage"]) == ("completed", 100)
    assert status["result"] == call("GET", f"/v1/tasks/{source}").json["result"]
    assert status["cache"]["source_task_id"] == source
    assert status["metadata"]["cache_hit"] is True
    assert (status["metadata"]["arms_used"], status["metadata"]["tokens_used"]) == ([], 0)
    assert [step["step_id"] for step in status["steps"]] == ["a"]
    assert status["progress"]["completed_steps"] == status["progress"]["total_steps"] == 1


def test_a_follower_shows_its_leader_s_steps_and_waiting_arms(call: Caller, company: Company) -> None:
    leader = post(call).json["task_id"]
    follower = post(call).json["task_id"]
    company.plan(leader)

    status = call("GET", f"/v1/tasks/{follower}").json

    assert [(step["step_id"], step["status"]) for step in status["steps"]] == [("a", "queued")]
    assert status["waiting_for"] == ["retriever"]


def test_a_task_that_ran_itself_shows_no_hit(call: Caller, company: Company) -> None:
    status = call("GET", f"/v1/tasks/{solve(call, company)}").json

    assert status["cache"] is None
    assert status["metadata"]["cache_hit"] is False


@pytest.mark.parametrize(
    ("directives", "status"),
    [
        ("no-cache", "octollm; fwd=request"),
        ("max-age=0", "octollm; fwd=request"),
        ("no-cache, no-store", "octollm; fwd=bypass"),
        ("No-Store", "octollm; hit"),
        ("only-if-cached", "octollm; hit"),
        ("max-age=600", "octollm; hit"),
        ("no-transform, stale-while-revalidate=7, ,;", "octollm; hit"),
    ],
)
def test_the_request_directives_are_followed(
    call: Caller, company: Company, directives: str, status: str
) -> None:
    solve(call, company)

    answer = post(call, headers={"Cache-Control": directives})

    assert answer.headers["Cache-Status"].startswith(status)


def test_a_header_can_only_tighten_what_the_body_allows(call: Caller, company: Company) -> None:
    solve(call, company)

    answer = post(call, headers={"Cache-Control": "max-age=600"}, cache={"mode": "bypass"})

    assert answer.headers["Cache-Status"] == "octollm; fwd=bypass"


def test_only_if_cached_is_a_504_without_a_cached_result(call: Caller) -> None:
    assert_problem(post(call, cache={"mode": "only_cached"}), 504, "not_cached")
    assert call("GET", "/v1/tasks").json["tasks"] == []


@pytest.mark.parametrize(
    ("members", "field"),
    [
        ({"cache": {"mode": "sometimes"}}, "cache.mode"),
        ({"cache": {"max_age": -1}}, "cache.max_age"),
        ({"cache": {"ttl": 5}}, "cache.ttl"),
        ({"cache": "bypass"}, "cache"),
    ],
)
def test_an_invalid_cache_member_is_a_422(call: Caller, members: dict[str, Any], field: str) -> None:
    answer = post(call, **members)

    assert_problem(answer, 422, "validation_error")
    assert answer.json["error"]["details"] is None or field in str(answer.json)


def test_a_result_that_must_be_fresh_and_cached_is_a_422(call: Caller) -> None:
    answer = post(call, headers={"Cache-Control": "no-cache"}, cache={"mode": "only_cached"})

    assert_problem(answer, 422, "validation_error")


def test_another_tenant_s_result_is_never_used(as_caller: AsCaller, call: Caller, company: Company) -> None:
    solve(call, company)

    assert post(as_caller("another")).headers["Cache-Status"] == "octollm; fwd=miss"


def test_a_follower_is_not_cancelled_with_its_leader(call: Caller, company: Company) -> None:
    leader = post(call).json["task_id"]
    follower = post(call).json["task_id"]

    assert call("DELETE", f"/v1/tasks/{follower}").json["stopped"] == []

    assert call("GET", f"/v1/tasks/{leader}").json["status"] == "queued"


def test_a_client_withdraws_a_wrong_result(call: Caller, company: Company) -> None:
    source = solve(call, company)
    hit = post(call).json["task_id"]

    answer = call(
        "POST", f"/v1/tasks/{hit}/feedback", json={"verdict": "wrong_hit", "comment": "that was build 6"}
    )

    assert answer.status_code == 200, answer.json
    assert answer.json["source_task_id"] == source
    assert post(call).headers["Cache-Status"] == "octollm; fwd=miss"
    again = call("POST", f"/v1/tasks/{source}/feedback", json={"verdict": "wrong_hit"})
    assert_problem(again, 409, "invalid_operation")
    unknown = call("POST", f"/v1/tasks/{hit}/feedback", json={"verdict": "nice"})
    assert_problem(unknown, 422, "validation_error")
