"""Which steps begin early, and how many: slots, policies and settings hold for them as for any step."""

import json
from dataclasses import replace

import pytest

from bench.support.chaos.auditor import audit
from bench.support.chaos.graphs import Wanted
from bench.support.chaos.load import Accepted
from orchestrator.chord.database import open_engine
from orchestrator.memory import early_steps
from orchestrator.models.approval_policy import AskRule
from tests.fake_llm.server import Scripted
from tests.integration.early_kit import Office, early_decision, held, plan_of, step, steps_of
from tests.integration.kit import done
from workers.attempt.context import AttemptContext
from workers.attempt.early_start import EarlyStart
from workers.runtime import process
from workers.tasks import app


def test_no_more_steps_run_early_than_there_are_slots(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MAX_PARALLEL_ARMS", "1")
    office.process = process.start(app, service="tests").process
    office.fake.add(held(plan_of(step("a"), step("b"), step("c")), "b"))
    task_id = office.submit()
    planning = office.plan(task_id)
    office.begun(task_id, "a", "b")
    before = office.early(task_id)
    office.store(office.engineer.take(task_id, "a"), done())
    between = office.early(task_id)

    office.adopt(planning)
    after = {name: office.engineer.row(task_id, name)["state"] for name in "abc"}

    assert before == {"a": "queued", "b": "held"}
    assert between == {"a": "done", "b": "queued"}
    assert after == {"a": "done", "b": "queued", "c": "held"}


def test_the_second_plan_of_a_model_that_was_unsure_counts(office: Office) -> None:
    office.fake.add(
        held(plan_of(step("a"), step("b"), confidence=0.5), "b"),
        Scripted(text=json.dumps(plan_of(step("a"), step("c", "a"), confidence=0.9))),
    )
    task_id = office.submit()
    planning = office.plan(task_id)
    office.begun(task_id, "a", "b")

    office.adopt(planning)

    assert early_decision(office, task_id) == {"a": "queued", "b": "dropped"}
    assert office.early(task_id) == {"b": "cancelled"}


def test_steps_begin_early_only_where_it_is_on(office: Office) -> None:
    office.process = replace(office.process, settings=replace(office.process.settings, plan_streaming="off"))
    office.fake.add(Scripted(text=json.dumps(plan_of(step("a")))))
    task_id = office.submit()
    planning = office.plan(task_id)

    outcome = office.adopt(planning)

    assert outcome.may_have_begun is False
    assert office.engineer.row(task_id, "a")["round"] == 1
    assert early_decision(office, task_id) is None


def test_the_status_shows_early_steps_until_there_is_a_plan(office: Office) -> None:
    office.fake.add(held(plan_of(step("a"), step("b")), "a"))
    task_id = office.submit()
    planning = office.plan(task_id)
    office.begun(task_id, "a")
    before = [(row.name, row.round) for row in steps_of(office, task_id)]
    office.store(office.engineer.take(task_id, "a"), done())
    percentage = office.engineer.task(task_id).percentage

    office.adopt(planning)

    assert (before, percentage) == ([("a", 0)], 0)
    assert [(row.name, row.round) for row in steps_of(office, task_id)] == [("a", 1), ("b", 1)]


def test_a_step_about_which_the_operator_asks_does_not_begin_early(office: Office) -> None:
    asks = replace(office.process.settings, approval_policy=(AskRule(effects=("none",)),))
    office.process = replace(office.process, settings=asks)
    office.fake.add(Scripted(text=json.dumps(plan_of(step("a")))))
    task_id = office.submit()
    planning = office.plan(task_id)

    office.adopt(planning)

    assert [(row["round"], row["state"]) for row in office.engineer.rows(task_id, "a")] == [(1, "waiting")]


def test_an_answer_of_many_steps_begins_a_bounded_number(office: Office) -> None:
    task_id = office.submit()
    early = EarlyStart(AttemptContext.of(office.process, office.engineer.take(task_id, "$plan")))

    early.begin()
    early.add(json.dumps(plan_of(*(step(f"a{number}") for number in range(300)))))

    assert len(office.early(task_id)) == early_steps.MAX_EARLY_STEPS


def test_without_a_database_no_step_begins_and_the_answer_is_read_on(office: Office) -> None:
    task_id = office.submit()
    claim = office.engineer.take(task_id, "$plan")
    away = open_engine("postgresql+psycopg2://nobody@127.0.0.1:1/none", pool_size=1)
    early = EarlyStart(AttemptContext.of(replace(office.process, engine=away), claim))

    early.begin()
    for part in json.dumps(plan_of(step("a"), step("b"))):
        early.add(part)

    assert not early.has_begun
    assert office.early(task_id) == {}


def test_the_chaos_auditor_finds_no_fault_in_a_task_with_early_steps(office: Office) -> None:
    office.fake.add(held(plan_of(step("a"), step("r"), step("b", "a", "r")), "r"))
    task_id = office.submit()
    planning = office.plan(task_id)
    office.begun(task_id, "a", "r")
    office.store(office.engineer.take(task_id, "a"), done({"summary": "early", "seconds": 0}))
    running = office.engineer.take(task_id, "r")
    office.adopt(planning)
    office.store(running, done({"summary": "early", "seconds": 0}))
    office.finish(task_id, "b")

    wanted = Accepted(task_id, Wanted("early", {}, ("completed",), {"a": {"summary": "early"}}))
    broken = {one.check for one in audit(office.engineer.engine, [wanted], lease_seconds=15)}

    # the other tasks of this database were not accepted by this test
    assert broken - {"task_unasked"} == set()
