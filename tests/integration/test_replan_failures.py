"""Planning again fails or meets what came before: the first verdict stands, and nothing is lost or repeated."""

import pytest

from orchestrator.chord.chord import Refused
from orchestrator.chord.database import transaction
from orchestrator.conclusion import fail_task
from orchestrator.executor import complete
from orchestrator.lifecycle import cancel
from orchestrator.lifecycle.ending import end_at_deadline
from orchestrator.memory import steps
from orchestrator.models.step_result import StepResult
from orchestrator.models.task_contract import Budget
from tests.fake_llm.faults import Fault
from tests.integration.kit import TENANT, done, failed
from tests.integration.replan_kit import ORIGINAL, REJECTED, Replanner, error_of, planned, rejected


@pytest.mark.parametrize("how", ["illegal", "same", "no model", "model fails", "no budget"])
def test_if_no_other_plan_can_be_made_the_first_verdict_stands_with_the_reason(
    replanner: Replanner, how: str
) -> None:
    task_id = rejected(replanner, budget=Budget(max_retries=0))
    plans = {
        "illegal": [planned("first", action="erase")],
        "same": [planned("first"), planned("second", "first")],
    }
    if how == "no model":
        replanner.has_model = False
    if how == "model fails":
        replanner.fake.fail(Fault.INSUFFICIENT_QUOTA)
    if how == "no budget":
        replanner.engineer.ask(
            "UPDATE tasks SET contract = jsonb_set(contract, '{budget,max_tokens}', '5000') WHERE id = %(task)s",
            task=task_id,
        )

    claim, outcome = replanner.propose(task_id, *plans.get(how, []), times=3)

    assert isinstance(outcome, StepResult)
    with transaction(replanner.engineer.engine) as conn:
        fail_task(conn, claim, error=outcome.error or {}, kind="planning_failed")
    task = replanner.engineer.task(task_id)
    error = error_of(replanner, task_id)
    assert error["code"] == "validation_failed"
    assert error["message"].startswith(f"{ORIGINAL}; no other plan was made (")
    codes = {"illegal": "invalid_plan", "same": "invalid_plan", "no model": "unplannable",
             "model fails": "model_quota_exhausted", "no budget": "budget_exceeded"}  # fmt: skip
    assert f"({codes[how]}: " in error["message"]
    assert task.result is not None
    assert (task.result["partial"], task.result["output"]) == (False, "it is so")
    assert task.result["validation_passed"] is False


def test_a_retryable_failure_of_the_model_is_tried_again(replanner: Replanner) -> None:
    task_id = rejected(replanner)
    replanner.fake.fail(Fault.SERVER_ERROR)

    assert replanner.try_in_vain(task_id)

    row = replanner.engineer.row(task_id, "$plan")
    assert (row["state"], row["round"], row["failures"]) == ("queued", 1, 1)


def test_a_task_may_be_cancelled_while_it_is_planned_again(replanner: Replanner) -> None:
    task_id = rejected(replanner)
    claim, outcome = replanner.propose(task_id, planned("first"), planned("third", "first"))

    cancel.cancel(replanner.engineer.engine, tenant=TENANT, task_id=task_id)

    with pytest.raises(Refused):
        replanner.adopt(claim, outcome)
    assert replanner.engineer.row(task_id, "$plan")["state"] == "cancelled"
    assert replanner.engineer.states(task_id)["second"] == "done"


def test_a_task_ends_at_its_deadline_while_it_waits_for_another_plan(replanner: Replanner) -> None:
    task_id = rejected(replanner)
    replanner.engineer.ask(
        "UPDATE tasks SET deadline_at = now() - interval '1 second' WHERE id = %(task)s", task=task_id
    )

    ended = end_at_deadline(replanner.engineer.engine, task_id)

    assert ended is not None
    assert error_of(replanner, task_id)["code"] == "deadline_exceeded"
    assert replanner.engineer.row(task_id, "$plan")["state"] == "cancelled"


def test_late_results_of_the_old_round_are_refused(replanner: Replanner) -> None:
    engineer = replanner.engineer
    task_id = replanner.start(planned("first"), planned("second"))
    late = engineer.take(task_id, "first")
    engineer.store(late, failed())
    engineer.do(task_id, "second")
    judge = engineer.take(task_id, "$judge")
    engineer.conclude(judge, REJECTED)
    first, outcome = replanner.propose(task_id, planned("third"))
    replanner.adopt(first, outcome)

    for claim in (late, judge, first):
        with pytest.raises(Refused), transaction(engineer.engine) as conn:
            complete(conn, claim, done(), settings=engineer.settings)
    with pytest.raises(Refused):
        replanner.adopt(first, outcome)


def test_a_lost_message_to_the_planner_is_published_again_by_the_sweeper(replanner: Replanner) -> None:
    task_id = rejected(replanner)
    engineer = replanner.engineer
    engineer.ask("UPDATE steps SET due = now() WHERE task_id = %(task)s AND state = 'queued'", task=task_id)

    with transaction(engineer.engine) as conn:
        found, _ = steps.take_due(conn, missing={"planner": 5}, redispatch_seconds=5, poison_step=3, limit=10)

    assert [(row.name, row.round, row.kind) for row in found] == [("$plan", 1, "plan")]


def test_a_planner_that_dies_is_replaced_and_its_plan_is_refused(replanner: Replanner) -> None:
    task_id = rejected(replanner)
    engineer = replanner.engineer
    dead = engineer.take(task_id, "$plan", owner="dead")
    engineer.ask("UPDATE steps SET due = now() - interval '1 second' WHERE id = %(id)s", id=dead.id)

    claim, outcome = replanner.propose(task_id, planned("third"))

    with pytest.raises(Refused):
        replanner.adopt(dead, outcome)
    replanner.adopt(claim, outcome)
    assert engineer.task(task_id).round == 2


def test_a_retry_of_a_task_that_was_planned_again_repeats_its_last_plan(replanner: Replanner) -> None:
    task_id = rejected(replanner)
    replanner.plan(task_id, planned("first"), planned("third", "first"))
    cancel.cancel(replanner.engineer.engine, tenant=TENANT, task_id=task_id)

    again = replanner.retry(task_id)

    assert {name: state for name, state in replanner.engineer.states(again).items() if name[0] != "$"} == {
        "first": "done",
        "third": "queued",
    }
