"""First steps of a model's plan begin while it is written, and stand or fall with the plan that is adopted."""

import json
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import Connection

from orchestrator.lifecycle import cancel, requeue
from orchestrator.memory import early_steps
from orchestrator.memory.early_steps import Place
from orchestrator.models.execution_state import TaskStatus
from tests.fake_llm.server import Scripted
from tests.integration.attempt_kit import run_step
from tests.integration.early_kit import Office, early_decision, held, plan_of, step, steps_of
from tests.integration.kit import TENANT, done, failed
from workers.attempt.context import AttemptContext
from workers.attempt.early_start import EarlyStart


@pytest.mark.parametrize("endpoint", ["openai", "anthropic"])
def test_a_first_step_is_done_before_the_plan_is_complete_and_its_result_is_kept(
    office: Office, endpoint: str
) -> None:
    office.endpoint = endpoint
    office.fake.add(held(plan_of(step("a"), step("b", "a")), "a"))
    task_id = office.submit()
    planning = office.plan(task_id)
    office.begun(task_id, "a")
    assert office.published("a") == ["a"]
    early = office.engineer.take(task_id, "a")

    office.store(early, done({"summary": "early", "seconds": 0}))
    is_planned_before = bool(planning.outcomes)
    office.adopt(planning)
    office.finish(task_id, "b")

    task = office.engineer.task(task_id)
    assert not is_planned_before
    assert task.status == TaskStatus.COMPLETED.value
    assert (early.round, early.chord_id) == (0, None)
    assert office.engineer.row(task_id, "a")["id"] == early.id
    assert office.engineer.row(task_id, "b")["bindings"] == {"a": early.id}
    assert office.told(task_id) == [
        ("step.queued", "a", 0),
        ("step.started", "a", 0),
        ("step.completed", "a", 0),
        ("step.queued", "b", 1),
        ("step.started", "b", 1),
        ("step.completed", "b", 1),
    ]


def test_a_step_that_runs_when_the_plan_is_adopted_goes_on_as_a_step_of_the_round(office: Office) -> None:
    office.fake.add(held(plan_of(step("a"), step("b", "a")), "a"))
    task_id = office.submit()
    planning = office.plan(task_id)
    office.begun(task_id, "a")
    early = office.engineer.take(task_id, "a")
    office.published("a")

    office.adopt(planning)
    again = office.published()
    waiting = office.engineer.states(task_id)
    chord = office.engineer.chord_of(task_id)
    office.store(early, done({"summary": "early", "seconds": 0}))
    followed = office.published("b")
    office.finish(task_id, "b")

    assert waiting == {"$plan": "done", "a": "running", "b": "blocked", "$judge": "blocked"}
    assert (again, followed) == ([], ["b"])
    assert (chord["size"], chord["done"], chord["state"]) == (1, 0, "open")
    assert office.engineer.task(task_id).status == TaskStatus.COMPLETED.value
    assert office.told(task_id)[:3] == [
        ("step.queued", "a", 0),
        ("step.started", "a", 1),
        ("step.completed", "a", 1),
    ]
    assert early_decision(office, task_id) == {"a": "running"}


def test_the_plan_waits_for_a_step_that_was_published_early_and_not_begun(office: Office) -> None:
    office.fake.add(held(plan_of(step("a")), "a"))
    task_id = office.submit()
    planning = office.plan(task_id)
    office.begun(task_id, "a")
    office.published("a")

    office.adopt(planning)
    again = office.published()
    claim = office.engineer.take(task_id, "a")
    run = run_step(AttemptContext.of(office.process, claim))
    office.store(claim, run)
    office.finish(task_id)

    assert again == []
    assert (claim.round, run.error) == (1, None)
    assert office.engineer.task(task_id).status == TaskStatus.COMPLETED.value


def test_an_early_step_has_a_permit_before_and_after_it_moves(office: Office) -> None:
    office.fake.add(held(plan_of(step("a")), "a"))
    task_id = office.submit()
    planning = office.plan(task_id)
    office.begun(task_id, "a")
    early = office.engineer.take(task_id, "a")
    before = run_step(AttemptContext.of(office.process, early))
    requeue.hand_back(office.engineer.engine, early.id, task_id=task_id, owner="me", died=False)

    office.adopt(planning)
    moved = office.engineer.take(task_id, "a")
    after = run_step(AttemptContext.of(office.process, moved))
    office.store(moved, after)
    office.finish(task_id)

    assert (before.error, after.error) == (None, None)
    assert (moved.round, moved.attempt) == (1, 2)


@pytest.mark.parametrize("state", ["held", "running", "done"])
def test_a_step_that_the_plan_has_otherwise_is_dropped_and_its_result_counts_for_nothing(
    office: Office, state: str
) -> None:
    """The model corrects itself: its first answer breaks a rule, and the second says something else of the step."""
    office.process = replace(
        office.process, settings=replace(office.process.settings, max_parallel_arms=int(state != "held") * 5)
    )
    office.fake.add(
        held(plan_of(step("a"), step("gone"), step("b", "nobody")), "gone"),
        Scripted(text=json.dumps(plan_of(step("a", inputs={"seconds": 1}), step("b", "a")))),
    )
    task_id = office.submit()
    planning = office.plan(task_id)
    office.begun(task_id, "a", "gone")
    early = None if state == "held" else office.engineer.take(task_id, "a")
    if state == "done":
        office.store(early, done({"summary": "wrong", "seconds": 0}))

    office.adopt(planning)
    refused = early is not None and office.engineer.ask(
        "SELECT state FROM steps WHERE id = %(id)s", id=early.id
    )
    if early is not None:
        office.store(early, done({"summary": "wrong", "seconds": 0}))
    office.finish(task_id, "a", "b")

    rows = office.engineer.rows(task_id, "a")
    task = office.engineer.task(task_id)
    assert [row["round"] for row in rows] == [0, 1]
    assert rows[0]["state"] == ("done" if state == "done" else "cancelled")
    assert rows[1]["result"]["output"]["summary"] == "a"
    assert refused is False or refused[0]["state"] == rows[0]["state"]
    assert task.status == TaskStatus.COMPLETED.value
    assert [row.name for row in steps_of(office, task_id)] == ["a", "b"]
    assert early_decision(office, task_id) == {"a": "dropped", "gone": "dropped"}
    told = office.told(task_id)
    assert told.count(("step.failed", "a", 0)) == (state != "done")
    assert told.count(("step.completed", "a", 1)) == 1


def test_a_plan_that_stays_invalid_cancels_what_began_and_leaves_no_result(office: Office) -> None:
    wrong = plan_of(step("a"), step("ran"), step("b", "nobody"))
    office.fake.add(held(wrong, "ran"), *[Scripted(text=json.dumps(wrong))] * 2)
    task_id = office.submit()
    planning = office.plan(task_id)
    office.begun(task_id, "a", "ran")
    office.store(office.engineer.take(task_id, "ran"), done({"summary": "early", "seconds": 0}))
    running = office.engineer.take(task_id, "a")

    office.adopt(planning)
    office.store(running, done({"summary": "late", "seconds": 0}))

    task = office.engineer.task(task_id)
    assert (task.status, task.error["code"]) == (TaskStatus.FAILED.value, "invalid_plan")
    assert task.result is None
    assert office.early(task_id) == {"a": "cancelled", "ran": "done"}
    assert ("step.failed", "a", 0) in office.told(task_id)


def test_cancelling_a_task_that_is_planned_stops_its_early_steps_and_begins_no_more(office: Office) -> None:
    office.fake.add(held(plan_of(step("a"), step("b")), "a"))
    task_id = office.submit()
    planning = office.plan(task_id)
    office.begun(task_id, "a")
    running = office.engineer.take(task_id, "a")

    cancel.cancel(office.engineer.engine, tenant=TENANT, task_id=task_id, reason="")
    office.store(running, done())
    office.adopt(planning)

    assert office.engineer.task(task_id).status == TaskStatus.CANCELLED.value
    assert office.early(task_id) == {"a": "cancelled"}


def test_the_next_planner_takes_what_the_one_before_began_and_that_one_begins_no_more(office: Office) -> None:
    plan = plan_of(step("a"), step("b"), step("c", "a", "b"))
    office.fake.add(held(plan, "a"), Scripted(text=json.dumps(plan)))
    task_id = office.submit()
    first = office.plan(task_id)
    office.begun(task_id, "a")
    early = office.engineer.take(task_id, "a")
    requeue.hand_back(office.engineer.engine, first.claim.id, task_id=task_id, owner="me", died=True)

    second = office.plan(task_id)
    outcome = second.join()
    begun = office.early(task_id)
    office.fake.release()
    first.join()
    office.store(second.claim, outcome)
    office.store(first.claim, first.join())
    office.store(early, done({"summary": "early", "seconds": 0}))
    office.finish(task_id, "b", "c")

    assert begun == {"a": "running", "b": "queued"}
    assert office.early(task_id) == {}
    assert [len(office.engineer.rows(task_id, name)) for name in "abc"] == [1, 1, 1]
    assert office.engineer.row(task_id, "a")["result"]["output"]["summary"] == "early"
    assert office.engineer.task(task_id).status == TaskStatus.COMPLETED.value


def test_a_planner_that_was_taken_over_begins_nothing(office: Office) -> None:
    office.fake.add(held(plan_of(step("a")), "a"))
    task_id = office.submit()
    claim = office.engineer.take(task_id, "$plan")
    requeue.hand_back(office.engineer.engine, claim.id, task_id=task_id, owner="me", died=True)
    office.engineer.take(task_id, "$plan")
    late = EarlyStart(AttemptContext.of(office.process, claim))

    late.begin()
    late.add(json.dumps(plan_of(step("a"))))

    assert office.early(task_id) == {}
    assert office.published() == []


def test_a_result_that_is_stored_while_the_plan_is_adopted_counts_in_the_round(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The step's place is read, then the plan is adopted, then the outcome is stored."""
    office.fake.add(held(plan_of(step("a"), step("b", "a")), "a"))
    task_id = office.submit()
    planning = office.plan(task_id)
    office.begun(task_id, "a")
    early = office.engineer.take(task_id, "a")
    read = early_steps.place
    adopted: list[Any] = []

    def place(conn: Connection, step_id: str) -> Place | None:
        found = read(conn, step_id)
        if not adopted:
            adopted.append(None)
            office.adopt(planning)
        return found

    monkeypatch.setattr(early_steps, "place", place)
    office.store(early, done({"summary": "early", "seconds": 0}))
    office.finish(task_id, "b")

    assert office.engineer.task(task_id).status == TaskStatus.COMPLETED.value
    assert office.engineer.row(task_id, "a")["result"]["output"]["summary"] == "early"


def test_a_step_that_failed_early_has_failed_in_the_round(office: Office) -> None:
    office.fake.add(held(plan_of(step("a"), step("b", "a")), "a"))
    task_id = office.submit()
    planning = office.plan(task_id)
    office.begun(task_id, "a")
    office.store(office.engineer.take(task_id, "a"), failed())

    office.adopt(planning)
    judged = office.published("$judge")

    assert "b" not in judged
    assert office.engineer.states(task_id) == {
        "$plan": "done",
        "a": "failed",
        "b": "blocked",
        "$judge": "queued",
    }
