"""ENGINE.md, rules 15 and 16: cancellation and deadlines close everything that is open."""

from dataclasses import replace

import pytest

from orchestrator.chord.chord import Refused
from orchestrator.lifecycle import cancel
from orchestrator.models.errors import InvalidOperation, NotFound
from orchestrator.models.task_contract import Budget
from orchestrator.models.verdict import Decision
from tests.integration.kit import TENANT, Engineer, done, verdict, wait_step
from tests.waiting import wait_until
from workers.sweeper import Sweeper


def test_rule_15_cancel_closes_the_chord_and_fences_every_open_row(engineer: Engineer) -> None:
    engineer.settings = replace(engineer.settings, max_parallel_arms=2)
    task_id = engineer.start(
        wait_step("run"), wait_step("queued"), wait_step("held"), wait_step("blocked", "run")
    )
    claim = engineer.take(task_id, "run")

    task, ended = cancel.cancel(engineer.engine, tenant=TENANT, task_id=task_id, reason="enough")

    assert task.status == "cancelled"
    assert ended is not None
    assert engineer.states(task_id) == {
        "$plan": "done", "run": "cancelled", "queued": "cancelled", "held": "cancelled", "blocked": "skipped",
        "$judge": "cancelled",
    }  # fmt: skip
    assert engineer.chord_of(task_id)["state"] == "closed"
    assert engineer.claim(task_id, "queued") is None
    with pytest.raises(Refused):
        engineer.store(claim, done())
    assert engineer.events(task_id)[-1].type == "task.cancelled"


def test_rule_15_cancel_before_planning_wins(engineer: Engineer) -> None:
    task_id = engineer.submit(wait_step("a"))

    cancel.cancel(engineer.engine, tenant=TENANT, task_id=task_id)

    assert engineer.claim(task_id, "$plan") is None
    assert engineer.task(task_id).status == "cancelled"


def test_rule_15_cancel_twice_is_one_cancel_and_a_finished_task_can_not_be_cancelled(
    engineer: Engineer,
) -> None:
    first, second = engineer.start(wait_step("a")), engineer.start(wait_step("a"))
    engineer.do(second, "a")
    engineer.judge(second, verdict(Decision.PASSED))

    cancel.cancel(engineer.engine, tenant=TENANT, task_id=first)
    again, ended = cancel.cancel(engineer.engine, tenant=TENANT, task_id=first)

    assert (again.status, ended) == ("cancelled", None)
    assert [event.type for event in engineer.events(first)].count("task.cancelled") == 1
    with pytest.raises(InvalidOperation):
        cancel.cancel(engineer.engine, tenant=TENANT, task_id=second)


def test_rule_15_another_tenants_task_can_not_be_cancelled(engineer: Engineer) -> None:
    task_id = engineer.start(wait_step("a"))

    with pytest.raises(NotFound):
        cancel.cancel(engineer.engine, tenant="other", task_id=task_id)

    assert engineer.task(task_id).status == "processing"


def test_rule_16_at_its_deadline_a_task_ends_with_a_partial_result_and_no_judge(
    engineer: Engineer, sweeper: Sweeper
) -> None:
    task_id = engineer.start(wait_step("a"), wait_step("b"), budget=Budget(max_time_seconds=1))
    engineer.do(task_id, "a", output={"summary": "found 3 files"})

    wait_until(lambda: sweeper.end_past_deadline().taken, 5, "the deadline")

    task = engineer.task(task_id)
    assert task.result is not None
    assert (task.status, task.error and task.error["code"]) == ("failed", "deadline_exceeded")
    assert (task.result["partial"], task.result["validation_passed"]) == (True, False)
    assert task.result["data"] == {"a": {"summary": "found 3 files"}}
    assert engineer.states(task_id)["$judge"] == "cancelled"


def test_rule_16_the_deadline_is_fixed_at_submit_and_fences_claims(engineer: Engineer) -> None:
    task_id = engineer.start(wait_step("a"), budget=Budget(max_time_seconds=1))
    task = engineer.task(task_id)
    wait_until(
        lambda: engineer.ask("SELECT 1 FROM tasks WHERE deadline_at < now()"), 5, "the deadline to pass"
    )

    assert (task.deadline_at - task.created_at).total_seconds() == 1
    assert engineer.claim(task_id, "a") is None
