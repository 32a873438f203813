"""Waiting for people puts off a task's deadline, never past the client's own; what happens when their time is over."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from orchestrator.auth import permit
from orchestrator.lifecycle import ending
from orchestrator.models import signing_key
from orchestrator.models.approval import Verb
from orchestrator.models.task_contract import Budget
from tests.integration.approval_kit import asked, decide, gated, kinds, let_expire, sweep, sweeping
from tests.integration.kit import Engineer, wait_step

BUDGET = Budget(max_time_seconds=100)


def put_off(engineer: Engineer, task_id: str) -> float:
    """Return by how many seconds the task's deadline is later than its budget of time allows."""
    (row,) = engineer.ask(
        "SELECT extract(epoch FROM deadline_at - created_at)::float8 - 100 AS seconds FROM tasks WHERE id = %(id)s",
        id=task_id,
    )
    return float(row["seconds"])


def back(engineer: Engineer, task_id: str, seconds: int) -> None:
    """Let `seconds` of the task's life pass: everything that it has is that much older."""
    engineer.ask(
        """
        WITH a AS (
            UPDATE approvals SET asked_at = asked_at - %(past)s, expires_at = expires_at - %(past)s,
                warn_at = warn_at - %(past)s WHERE task_id = %(task)s
        )
        UPDATE tasks SET created_at = created_at - %(past)s, deadline_at = deadline_at - %(past)s,
            waits_until = waits_until - %(past)s WHERE id = %(task)s
        """,
        task=task_id,
        past=timedelta(seconds=seconds),
    )


def test_a_request_puts_the_deadline_off_by_the_longest_wait_and_a_decision_takes_the_rest_back(
    engineer: Engineer,
) -> None:
    task_id = engineer.start(gated("a", expires_in=600), budget=BUDGET)
    assert put_off(engineer, task_id) == pytest.approx(600, abs=1)

    back(engineer, task_id, 60)
    decide(engineer, asked(engineer, task_id, "a"))

    assert put_off(engineer, task_id) == pytest.approx(60, abs=5)


def test_two_waits_at_once_count_once(engineer: Engineer) -> None:
    task_id = engineer.start(gated("a", expires_in=600), gated("b", expires_in=1000), budget=BUDGET)
    assert put_off(engineer, task_id) == pytest.approx(1000, abs=1)

    back(engineer, task_id, 60)
    decide(engineer, asked(engineer, task_id, "b"))
    assert put_off(engineer, task_id) == pytest.approx(600, abs=5)
    back(engineer, task_id, 60)
    decide(engineer, asked(engineer, task_id, "a"))

    assert put_off(engineer, task_id) == pytest.approx(120, abs=5)


def test_waits_one_after_another_add_up(engineer: Engineer) -> None:
    task_id = engineer.start(gated("a", expires_in=600), gated("b", "a", expires_in=600), budget=BUDGET)
    back(engineer, task_id, 60)
    decide(engineer, asked(engineer, task_id, "a"))
    engineer.do(task_id, "a")
    assert put_off(engineer, task_id) == pytest.approx(660, abs=5)

    back(engineer, task_id, 60)
    decide(engineer, asked(engineer, task_id, "b"), Verb.REJECT)

    assert put_off(engineer, task_id) == pytest.approx(120, abs=5)


def test_a_wait_that_expires_is_kept_in_full(engineer: Engineer) -> None:
    worker = sweeping(engineer)
    task_id = engineer.start(gated("a", expires_in=600), budget=BUDGET)
    back(engineer, task_id, 600)

    sweep(worker)

    assert engineer.states(task_id)["a"] != "waiting"
    assert put_off(engineer, task_id) == pytest.approx(600, abs=5)


def test_the_client_s_own_deadline_is_never_passed(engineer: Engineer) -> None:
    deadline = datetime.now(UTC) + timedelta(seconds=50)

    task_id = engineer.start(gated("a", expires_in=600), budget=BUDGET, deadline=deadline)

    assert engineer.task(task_id).deadline_at == deadline
    assert asked(engineer, task_id, "a").expires_at == deadline
    decide(engineer, asked(engineer, task_id, "a"))
    assert engineer.task(task_id).deadline_at == deadline


def test_a_task_that_waits_ends_at_its_later_deadline(engineer: Engineer) -> None:
    task_id = engineer.start(gated("a", expires_in=600), budget=BUDGET)
    back(engineer, task_id, 300)
    assert ending.end_at_deadline(engineer.engine, task_id) is None

    back(engineer, task_id, 500)
    ended = ending.end_at_deadline(engineer.engine, task_id)

    assert ended is not None
    assert engineer.task(task_id).status == "failed"
    assert asked(engineer, task_id, "a").state == "withdrawn"


def test_a_step_has_the_put_off_time_to_run(engineer: Engineer) -> None:
    task_id = engineer.start(gated("a", expires_in=600), budget=BUDGET)
    back(engineer, task_id, 550)
    decide(engineer, asked(engineer, task_id, "a"))

    assert engineer.take(task_id, "a").seconds_left == pytest.approx(100, abs=5)


def test_the_permits_of_a_round_with_gates_are_valid_that_much_longer(engineer: Engineer) -> None:
    key = signing_key.new_private_key()
    signing = Engineer(engineer.engine, replace(engineer.settings, permit_private_key=key))
    plan = [gated("a", expires_in=600), wait_step("b", "a"), gated("c", "b", expires_in=400)]

    task_id = signing.start(*plan, budget=BUDGET)

    row = signing.row(task_id, "b")
    ends = _end_of(signing_key.public_key_of(key), row)
    assert (ends - row["created_at"]).total_seconds() == pytest.approx(
        100 + 600 + 400 + permit.GRACE_SECONDS, abs=5
    )


def test_nothing_is_reserved_while_a_step_waits(engineer: Engineer) -> None:
    task_id = engineer.start(gated("a"), wait_step("b"))
    engineer.do(task_id, "b")

    assert engineer.ask("SELECT * FROM ledger WHERE task_id = %(task)s", task=task_id) == []
    assert engineer.row(task_id, "a")["owner"] is None


def test_an_expired_wait_of_a_task_without_time_left_still_applies_its_rule(engineer: Engineer) -> None:
    worker = sweeping(engineer)
    task_id = engineer.start(gated("a", on_expiry="approve"), budget=BUDGET)
    let_expire(engineer, asked(engineer, task_id, "a"))

    sweep(worker)

    assert engineer.states(task_id)["a"] == "queued"


@pytest.mark.parametrize(
    ("rule", "state", "via", "step"),
    [("reject", "expired", "policy", "failed"), ("approve", "approved", "policy", "queued")],
)
def test_an_expiry_is_never_recorded_as_a_person(
    engineer: Engineer, rule: str, state: str, via: str, step: str
) -> None:
    worker = sweeping(engineer)
    task_id = engineer.start(gated("a", on_expiry=rule))
    let_expire(engineer, asked(engineer, task_id, "a"))

    sweep(worker)
    sweep(worker)

    latest = asked(engineer, task_id, "a")
    assert (latest.state, latest.decided_by, latest.via) == (state, None, via)
    assert engineer.states(task_id)["a"] == step
    if step == "failed":
        assert engineer.row(task_id, "a")["result"]["error"]["code"] == "approval_expired"


def test_an_expiry_may_end_the_task(engineer: Engineer) -> None:
    worker = sweeping(engineer)
    task_id = engineer.start(gated("a", on_expiry="fail"), gated("b"))
    let_expire(engineer, asked(engineer, task_id, "a"))

    sweep(worker)

    task = engineer.task(task_id)
    assert task.error is not None
    assert (task.status, task.error["code"]) == ("failed", "approval_expired")
    assert asked(engineer, task_id, "b").state == "withdrawn"


def test_an_expiry_that_can_not_be_stored_holds_up_no_other(engineer: Engineer) -> None:
    worker = sweeping(engineer)
    tasks = [engineer.start(gated("a")) for _ in range(2)]
    for task_id in tasks:
        let_expire(engineer, asked(engineer, task_id, "a"))
    engineer.ask("UPDATE approvals SET proposal = '[]' WHERE task_id = %(id)s", id=tasks[0])

    sweep(worker)

    assert [asked(engineer, task_id, "a").state for task_id in tasks] == ["pending", "expired"]


def test_the_expiry_is_announced_once_after_four_fifths_of_the_time(engineer: Engineer) -> None:
    worker = sweeping(engineer)
    task_id = engineer.start(gated("a", expires_in=1000))
    (times,) = engineer.ask(
        """SELECT extract(epoch FROM warn_at - asked_at)::float8 AS warn,
           extract(epoch FROM expires_at - asked_at)::float8 AS ends FROM approvals WHERE task_id = %(task)s""",
        task=task_id,
    )
    assert (times["warn"], times["ends"]) == (800, 1000)
    sweep(worker)
    assert "approval.expiring" not in kinds(engineer, task_id)

    engineer.ask("UPDATE approvals SET warn_at = now() WHERE task_id = %(task)s", task=task_id)
    for _ in range(3):
        sweep(worker)

    assert [*kinds(engineer, task_id)].count("approval.expiring") == 1


def _end_of(public_key: str, row: Mapping[str, Any]) -> datetime:
    claims = permit._verified_round(public_key, row["spec"]["permit"]["round"])
    return datetime.fromtimestamp(claims["exp"], tz=UTC)
