"""GET /v1/arms/statistics: the arms now and in the last hour, read from the rows of steps."""

from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import Engine

from api.routes import arm_statistics
from api.routes.arm_statistics import RecentAnswers
from orchestrator.lifecycle.metered_calls import ClaimBudgetAccount
from orchestrator.llm.completion import UsageBound
from orchestrator.llm.provider import Usage
from orchestrator.memory import arm_history
from tests.integration.api.assertions import assert_problem
from tests.integration.api.conftest import AsCaller, Caller
from tests.integration.budget_kit import reserve
from tests.integration.kit import TENANT, Engineer, wait_step
from tests.integration.test_pools import beat


@pytest.fixture(autouse=True)
def no_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    """Read at each call: tests call more often than once in 2 s."""
    monkeypatch.setattr(arm_statistics, "CACHE_SECONDS", -1.0)
    monkeypatch.setattr(arm_statistics, "READING_SHARE", 0)


def of(call: Caller, arm: str, minutes: int = 60) -> dict[str, Any]:
    answer = call("GET", f"/v1/arms/statistics?minutes={minutes}")
    assert answer.status_code == 200, answer.json
    return next(one for one in answer.json["arms"] if one["arm_id"] == arm)


def ended(
    engineer: Engineer, *, minutes_ago: float, ms: int, state: str = "done", queued_ms: int = 0
) -> None:
    """Write a step of the executor that ran for `ms` and ended so long ago."""
    task_id = engineer.start(wait_step("a"))
    engineer.ask(
        """UPDATE steps SET state = %(state)s, result = '{}', due = NULL, attempt = 1,
               finished_at = date_trunc('minute', now()) + interval '59 seconds' - %(ago)s * interval '1 minute',
               started_at = date_trunc('minute', now()) + interval '59 seconds' - %(ago)s * interval '1 minute'
                   - %(ms)s * interval '1 millisecond',
               queued_at = date_trunc('minute', now()) + interval '59 seconds' - %(ago)s * interval '1 minute'
                   - (%(ms)s + %(queued)s) * interval '1 millisecond'
           WHERE id = %(id)s""",
        id=engineer.row(task_id, "a")["id"],
        state=state,
        ago=minutes_ago,
        ms=ms,
        queued=queued_ms,
    )


def test_what_an_arm_does_now_is_shown_with_the_age_of_its_oldest_row(
    engineer: Engineer, engine: Engine, call: Caller
) -> None:
    beat(engine, "one", "executor", busy=1)
    first, _ = engineer.start(wait_step("a")), engineer.start(wait_step("a"))
    engineer.ask(
        "UPDATE steps SET queued_at = now() - interval '90 seconds' WHERE task_id = %(id)s", id=first
    )

    found = of(call, "executor")

    assert (found["queued"], found["workers"], found["busy"], found["slots"]) == (2, 1, 1, 4)
    assert 90 <= found["oldest_queued_seconds"] < 100
    assert (found["status"], found["is_unserved"], found["outage"]) == ("healthy", False, None)
    assert (found["ended"], found["success_rate"], found["p50_ms"]) == (0, None, None)
    assert of(call, "coder")["oldest_queued_seconds"] is None


def test_a_queue_without_a_worker_is_unserved(engineer: Engineer, call: Caller) -> None:
    engineer.start(wait_step("a"))

    assert of(call, "executor")["is_unserved"] is True
    assert of(call, "coder")["is_unserved"] is False


def test_each_minute_has_what_ended_in_it_and_how_long_it_took(engineer: Engineer, call: Caller) -> None:
    for ms in (100, 200, 300):
        ended(engineer, minutes_ago=5, ms=ms)
    ended(engineer, minutes_ago=5, ms=1000, state="failed")
    ended(engineer, minutes_ago=2, ms=50)
    ended(engineer, minutes_ago=70, ms=9000)

    found = of(call, "executor")

    assert len(found["series"]) == 60
    assert [one["at"] for one in found["series"]] == sorted(one["at"] for one in found["series"])
    busy = {-minute: one for minute, one in enumerate(reversed(found["series"])) if one["finished"]}
    assert {minute: (one["finished"], one["failed"]) for minute, one in busy.items()} == {
        -5: (3, 1),
        -2: (1, 0),
    }
    assert (busy[-5]["p50_ms"], busy[-2]["p95_ms"]) == (250, 50)
    assert busy[-5]["p95_ms"] == pytest.approx(895)
    assert (found["ended"], found["success_rate"]) == (5, 0.8)
    assert found["p50_ms"] == 200
    assert found["complete_since"] is None
    assert sum(one["finished"] for one in of(call, "executor", minutes=120)["series"]) == 5


def test_queued_and_busy_are_averages_over_the_minute(engineer: Engineer, call: Caller) -> None:
    # it waited for 90 s from second 14 of minute -7, and ran for 75 s until second 59 of minute -5
    ended(engineer, minutes_ago=5, ms=75_000, queued_ms=90_000)

    series = list(reversed(of(call, "executor")["series"]))

    waited = [round(60 * series[minute]["queued"]) for minute in (8, 7, 6, 5, 4)]
    worked = [round(60 * series[minute]["busy"]) for minute in (8, 7, 6, 5, 4)]
    assert waited == [0, 46, 44, 0, 0]
    assert worked == [0, 0, 16, 59, 0]


def test_rows_that_are_open_count_until_now(engineer: Engineer, call: Caller) -> None:
    task_id = engineer.start(wait_step("a"), wait_step("b"))
    engineer.take(task_id, "b")
    engineer.ask(
        """UPDATE steps SET queued_at = now() - interval '3 hours',
               started_at = CASE WHEN name = 'b' THEN now() - interval '2 hours' END
           WHERE task_id = %(id)s AND kind = 'step'""",
        id=task_id,
    )

    series = of(call, "executor")["series"]

    assert {(round(one["queued"], 6), round(one["busy"], 6)) for one in series} == {(1.0, 1.0)}


def test_a_tenant_sees_the_cost_of_its_own_steps_only(
    engineer: Engineer, call: Caller, as_caller: AsCaller
) -> None:
    for dollars in (Decimal("0.25"), None):
        claim = engineer.take(engineer.start(wait_step("a")), "a")
        account = ClaimBudgetAccount(engineer.engine, claim)
        before = of(call, "executor")["cost_dollars"]
        account.settle(reserve(account, UsageBound(10, 10, dollars)), Usage(1, 1), dollars)

    assert before == 0.25
    assert of(call, "executor")["cost_dollars"] is None, "a price is not known"
    assert of(as_caller("other"), "executor")["cost_dollars"] == 0
    assert of(as_caller("other"), "executor")["queued"] == of(call, "executor")["queued"]


def test_of_very_many_steps_the_latest_are_read_and_the_answer_says_since_when(
    engineer: Engineer, call: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arm_history, "MAX_ENDED", 2)
    for minute in (9, 6, 3):
        ended(engineer, minutes_ago=minute, ms=100)

    found = of(call, "executor")

    assert found["ended"] == 2
    assert found["complete_since"].startswith(list(reversed(found["series"]))[6]["at"][:16])


def test_two_callers_within_two_seconds_cost_one_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = iter((0.0, 0.0, 1.0, 5.0, 6.0, 15.0))
    made: list[int] = []
    answers = RecentAnswers(clock=lambda: next(seconds))
    monkeypatch.setattr(arm_statistics, "CACHE_SECONDS", 2.0)
    monkeypatch.setattr(arm_statistics, "READING_SHARE", 10)

    def make() -> dict[str, Any]:
        made.append(len(made))
        return {"made": made[-1]}

    found = [answers.get((TENANT, 60), make)["made"] for _ in range(4)]

    assert found == [0, 0, 1, 1], "the second reading took 1 s: it serves 10 s"


def test_minutes_are_bounded_and_the_scope_is_that_of_the_list(call: Caller, as_caller: AsCaller) -> None:
    for minutes in ("0", "181", "x"):
        assert_problem(call("GET", f"/v1/arms/statistics?minutes={minutes}"), 422, "validation_error")
    assert as_caller(scopes=("task:read",))("GET", "/v1/arms/statistics").status_code == 403
