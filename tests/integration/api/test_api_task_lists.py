"""GET /v1/tasks filters, sorts, counts and pages on the server, and reads a limited number of rows."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from orchestrator.memory import task_lists
from orchestrator.models.verdict import Decision
from tests.integration.api.assertions import assert_problem
from tests.integration.api.conftest import AsCaller, Caller, Octollm
from tests.integration.kit import Engineer, verdict, wait_step

# recent, for ids and times must agree by about an hour
START = datetime.now(UTC).replace(microsecond=0) - timedelta(minutes=30)


def at(minutes: int) -> str:
    """Return a time after START."""
    return (START + timedelta(minutes=minutes)).isoformat().replace("+00:00", "Z")


@pytest.fixture
def history(engineer: Engineer) -> list[str]:
    """Six tasks, the oldest first: three completed, one failed, one processing, one queued.

    Task n was submitted n minutes after START, ran n minutes and cost n dollars; the cost of the first is unknown.
    """
    ids = [_ended(engineer, Decision.PASSED) for _ in range(3)]
    ids += [
        _ended(engineer, Decision.FAILED),
        engineer.start(wait_step("a")),
        engineer.submit(wait_step("a")),
    ]
    engineer.take(ids[4], "a")
    for number, task_id in enumerate(ids):
        engineer.ask(
            """
            UPDATE tasks
            SET created_at = %(at)s, updated_at = %(at)s, cost_dollars = nullif(%(n)s, 0),
                finished_at = CASE
                    WHEN finished_at IS NOT NULL THEN %(at)s::timestamptz + %(n)s * interval '1 minute'
                END
            WHERE id = %(id)s
            RETURNING id
            """,
            at=at(number),
            n=number,
            id=task_id,
        )
    return ids


def _ended(engineer: Engineer, decision: Decision) -> str:
    task_id = engineer.start(wait_step("a"))
    engineer.do(task_id, "a") if decision is Decision.PASSED else engineer.fail(task_id, "a")
    engineer.judge(task_id, verdict(decision))
    return task_id


def listed(call: Caller, **query: Any) -> list[str]:
    """Return the ids of all pages, read with a page size of 2 unless the query names one."""
    found: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        answer = call("GET", "/v1/tasks", query_string={"limit": 2, **query, **cursor})
        assert answer.status_code == 200, answer.json
        found += [task["task_id"] for task in answer.json["tasks"]]
        if answer.json["next_cursor"] is None:
            return found
        cursor = {"cursor": answer.json["next_cursor"]}


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        ({}, [5, 4, 3, 2, 1, 0]),
        ({"status": "completed"}, [2, 1, 0]),
        ({"status": "failed,queued,processing"}, [5, 4, 3]),
        ({"from": at(1), "to": at(3)}, [2, 1]),
        ({"since": at(4)}, [5, 4]),
        ({"min_cost": "2"}, [5, 4, 3, 2]),
        ({"min_cost": "0"}, [5, 4, 3, 2, 1]),
        ({"min_duration": "120", "status": "completed,failed"}, [3, 2]),
        ({"goal": "DO IT", "arm": "executor", "status": "completed", "min_cost": "1.5"}, [2]),
        ({"sort": "oldest"}, [0, 1, 2, 3, 4, 5]),
        ({"sort": "oldest", "status": "completed,failed", "from": at(1)}, [1, 2, 3]),
        ({"sort": "longest"}, [4, 5, 3, 2, 1, 0]),
        ({"sort": "dearest"}, [5, 4, 3, 2, 1, 0]),
        ({"sort": "dearest", "status": "completed"}, [2, 1, 0]),
        ({"sort": "updated"}, [5, 4, 3, 2, 1, 0]),
    ],
)
def test_what_fits_is_listed_once_in_the_order_asked_for(
    call: Caller, history: list[str], query: dict[str, str], wanted: list[int]
) -> None:
    assert listed(call, **query) == [history[number] for number in wanted]


@pytest.mark.parametrize("sort", ["newest", "oldest", "longest", "dearest", "updated"])
def test_tasks_that_arrive_between_pages_make_none_missing_or_double(
    call: Caller, engineer: Engineer, history: list[str], sort: str
) -> None:
    found: list[str] = []
    cursor: dict[str, str] = {}
    for _ in history:
        page = call("GET", "/v1/tasks", query_string={"sort": sort, "limit": 1, **cursor}).json
        found += [task["task_id"] for task in page["tasks"]]
        cursor = {"cursor": page["next_cursor"]}
        _ended(engineer, Decision.PASSED)

    assert len(found) == len(history)
    assert sorted(found) == sorted(history)


def test_equal_keys_are_all_listed(call: Caller, engineer: Engineer, history: list[str]) -> None:
    engineer.ask("UPDATE tasks SET cost_dollars = 0.1 RETURNING id")

    assert sorted(listed(call, sort="dearest", limit=1)) == sorted(history)


@pytest.mark.parametrize(
    "query",
    [
        {"status": "completed,odd"},
        {"status": ""},
        {"sort": "odd"},
        {"min_cost": "-1"},
        {"min_cost": "nan"},
        {"min_cost": "1e999999"},
        {"min_duration": "inf"},
        {"from": "yesterday"},
        {"from": "2026-01-01T00:00:00Z", "since": "2026-01-02T00:00:00Z"},
        {"cursor": "x"},
        {"cursor": "x" * 1000},
        {"cursor": "task_0000000000000000", "sort": "longest"},
        {"cursor": "dearest~1~task_0000000000000000~task_0000000000000000~1", "sort": "longest"},
        {
            "cursor": "longest~1~task_0000000000000000~task_0000000000000000~99999999999999999999",
            "sort": "longest",
        },
        {"limit": "101"},
        {"goal": "a\u0000"},
        {"arm": "\u0000"},
    ],
)
def test_an_invalid_query_is_refused(call: Caller, query: dict[str, str]) -> None:
    assert_problem(call("GET", "/v1/tasks", query_string=query), 422, "validation_error")


@pytest.mark.parametrize("year", ["0001", "9999"])
def test_times_out_of_range_are_accepted(call: Caller, history: list[str], year: str) -> None:
    moment, is_early = f"{year}-01-01T00:00:00Z", year == "0001"

    assert listed(call, **{"from": moment}) == (history[::-1] if is_early else [])
    assert listed(call, to=moment) == ([] if is_early else history[::-1])


def test_a_task_shows_its_steps_cost_and_approvals(call: Caller, engineer: Engineer) -> None:
    gate = {"ask": "May it run?"}
    task_id = engineer.start(wait_step("a"), wait_step("b", "a"), wait_step("c", approval=gate))
    engineer.do(task_id, "a")

    [task] = call("GET", "/v1/tasks").json["tasks"]
    status = call("GET", f"/v1/tasks/{task_id}").json

    assert (task["completed_steps"], task["total_steps"], task["waiting"]) == (1, 3, 1)
    assert task["completed_steps"] == status["progress"]["completed_steps"]
    assert task["total_steps"] == status["progress"]["total_steps"]
    assert (task["tokens_used"], task["cost_dollars"], task["processing_time_ms"]) == (0, 0, None)


def test_an_ended_task_shows_how_long_it_took_and_an_unknown_cost_is_null(
    call: Caller, history: list[str]
) -> None:
    tasks = {task["task_id"]: task for task in call("GET", "/v1/tasks").json["tasks"]}

    assert [tasks[history[n]]["cost_dollars"] for n in (0, 1)] == [None, 1]
    assert [tasks[history[n]]["processing_time_ms"] for n in (0, 3, 4)] == [0, 180_000, None]


def test_counts_are_by_status_within_the_other_filters(call: Caller, history: list[str]) -> None:
    every = call("GET", "/v1/tasks?counts=true&limit=1&status=failed").json["counts"]
    dear = call("GET", "/v1/tasks?counts=true&min_cost=2").json["counts"]

    assert {status: found["count"] for status, found in every.items()} == {
        "queued": 1,
        "processing": 1,
        "completed": 3,
        "failed": 1,
        "cancelled": 0,
    }
    assert not any(found["more"] for found in every.values())
    assert dear["completed"] == {"count": 1, "more": False}
    assert call("GET", "/v1/tasks").json["counts"] is None


def test_counting_stops_at_a_limit_and_says_so(
    call: Caller, history: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(task_lists, "MAX_COUNTED", 2)

    counts = call("GET", "/v1/tasks?counts=true").json["counts"]

    assert counts["completed"] == {"count": 2, "more": True}
    assert counts["failed"] == {"count": 1, "more": False}


def test_a_reply_says_how_far_back_it_looked(
    call: Caller, history: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = call("GET", "/v1/tasks?sort=longest").json
    monkeypatch.setattr(task_lists, "MAX_SEEN", 3)

    newest = call("GET", "/v1/tasks?min_cost=100").json
    longest = call("GET", "/v1/tasks?sort=longest").json

    assert whole["seen"] is None
    assert (newest["tasks"], newest["next_cursor"]) == ([], history[3])
    assert newest["seen"] == {"tasks": 3, "back_to": at(3).replace("Z", ".000Z")}
    assert [task["task_id"] for task in longest["tasks"]] == [history[n] for n in (4, 5, 3)]
    assert (longest["seen"], longest["next_cursor"]) == (newest["seen"], None)
    assert listed(call, min_cost="1", sort="oldest") == history[1:]


def test_an_unchanged_list_is_answered_with_304(call: Caller, engineer: Engineer, history: list[str]) -> None:
    path = "/v1/tasks?counts=true"
    first = call("GET", path)

    def again(path: str = path) -> int:
        return call("GET", path, headers={"If-None-Match": first.headers["ETag"]}).status_code

    assert first.headers["Cache-Control"] == "private, no-cache"
    assert (again(), again("/v1/tasks?status=failed")) == (304, 200)
    assert call("GET", path, headers={"If-None-Match": f"W/{first.headers['ETag']}"}).status_code == 304

    engineer.plan(history[5])
    assert again() == 200


def test_a_new_task_or_more_spending_changes_the_etag(
    call: Caller, engineer: Engineer, history: list[str]
) -> None:
    def etag() -> str:
        return call("GET", "/v1/tasks").headers["ETag"]

    before = etag()
    engineer.ask("UPDATE tasks SET tokens_used = 7 WHERE id = %(id)s RETURNING id", id=history[4])
    spent = etag()
    engineer.submit(wait_step("a"))

    assert len({before, spent, etag()}) == 3


def test_no_other_tenants_tasks_are_listed_or_counted(as_caller: AsCaller, history: list[str]) -> None:
    stranger = as_caller("umbrella")

    for sort in ("newest", "oldest", "longest", "dearest", "updated"):
        page = stranger("GET", f"/v1/tasks?counts=true&sort={sort}").json
        assert page["tasks"] == []
        assert {found["count"] for found in page["counts"].values()} == {0}
    assert_problem(as_caller(scopes=("task:submit",))("GET", "/v1/tasks"), 403, "insufficient_permissions")


def test_the_command_lists_with_the_same_filters(octollm: Octollm, history: list[str]) -> None:
    def found(*options: str) -> list[str]:
        status, text = octollm("list", *options)
        assert status == 0, text
        return [line.split()[0] for line in text.splitlines()]

    assert found("--status", "failed,queued") == [history[5], history[3]]
    assert found("--sort", "dearest", "--status", "completed") == [history[n] for n in (2, 1, 0)]
    assert found("--from", at(1), "--to", at(3)) == [history[2], history[1]]
    assert found("--min-cost", "2", "--min-duration", "3m", "--status", "failed") == [history[3]]
    assert octollm("list", "--min-duration", "long")[0] == 2
