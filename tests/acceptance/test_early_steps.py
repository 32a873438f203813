"""Steps that begin while a model writes the plan, on the whole product; the fake server holds the plan back."""

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from orchestrator.chord.database import open_engine
from orchestrator.devserver.stack import Stack
from orchestrator.process import crash_point
from orchestrator.process.crash_point import Point
from tests.acceptance.audit import assert_completed_once
from tests.acceptance.client import Client
from tests.acceptance.conftest import Arm, client_of
from tests.acceptance.model_stack import asking
from tests.acceptance.proc import owner_of, row_of
from tests.fake_llm.server import FakeLLM, Scripted
from tests.waiting import wait_until

pytestmark = pytest.mark.slow

NAMES = ["first", "slow", "last"]


def step(name: str, *after: str, seconds: float = 0) -> dict[str, Any]:
    """Return a step as a model writes it."""
    return {
        "action": "executor.wait",
        "id": name,
        "description": "",
        "inputs": {"seconds": seconds},
        "depends_on": list(after),
        "acceptance_criteria": [{"text": "it waits", "check": {"pointer": "/seconds", "at_least": 0}}],
    }


def plan_of(*steps: dict[str, Any]) -> dict[str, Any]:
    """Return a plan as a model writes it."""
    return {"rationale": "why", "steps": list(steps), "result": None, "confidence": 1}


PLAN = plan_of(step("first"), step("slow", seconds=2), step("last", "first", "slow"))


@pytest.fixture(scope="module")
def planning(fake: FakeLLM, crash_points: Path) -> Iterator[Stack]:
    """A stack whose only model is the fake one."""
    with asking(
        fake, {crash_point.VARIABLE: str(crash_points)}, LEASE_SECONDS="3", HEARTBEAT_SECONDS="1"
    ) as running:
        yield running
        log = (running.home / "log" / "postgres.log").read_text(errors="replace")
        assert "permission denied" not in log


@pytest.fixture
def people(planning: Stack, fake: FakeLLM) -> Client:
    """A client of the stack; nothing is scripted."""
    fake.forget()
    return client_of(planning, tenant="acme")


@pytest.fixture
def records(planning: Stack) -> Iterator[Engine]:
    """The stack's database."""
    engine = open_engine(planning.database_url, pool_size=2)
    yield engine
    engine.dispose()


def held(plan: dict[str, Any], after: str) -> Scripted:
    """Answer a plan; what follows the step `after` is held back."""
    end = next(json.dumps(one) for one in plan["steps"] if one["id"] == after)
    return Scripted(text=json.dumps(plan), hold_after=end)


def submit(client: Client) -> str:
    """Submit a goal that only the model can plan."""
    return client.submit("Wait for all of them", cache={"mode": "bypass"})


def ended(records: Engine, task_id: str, name: str) -> bool:
    """Tell whether the step is done."""
    return bool(row_of(records, task_id, name).get("state") == "done")


def test_the_first_step_is_done_before_the_plan_is_complete(
    people: Client, records: Engine, fake: FakeLLM
) -> None:
    fake.add(held(PLAN, "slow"))
    task_id = submit(people)
    wait_until(lambda: ended(records, task_id, "first"), 30, "the first step to be done")
    before = people.task(task_id)
    owner_of(records, task_id, "slow")

    fake.release()

    assert_completed_once(people, task_id, steps=NAMES)
    assert (before["status"], before["progress"]["percentage"]) == ("processing", 0)
    plan = next(item["data"] for item in people.trace(task_id) if item["kind"] == "plan")
    assert plan["early"] == {"first": "done", "slow": "running"}
    assert sorted(people.task(task_id)["result"]["data"]) == ["last"]


def test_an_invalid_plan_stops_a_step_that_runs_early(people: Client, records: Engine, fake: FakeLLM) -> None:
    wrong = plan_of(step("long", seconds=60), step("last", "nobody"))
    fake.add(held(wrong, "long"), *[Scripted(text=json.dumps(wrong))] * 2)
    task_id = submit(people)
    owner_of(records, task_id, "long")

    fake.release()
    task = people.end_of(task_id)

    assert (task["status"], task["error"]["code"], task["result"]) == ("failed", "invalid_plan", None)
    # its slot is free long before it would have ended
    assert row_of(records, task_id, "long")["state"] == "cancelled"
    fake.forget()
    fake.add(Scripted(text=json.dumps(PLAN)))
    assert_completed_once(people, submit(people), steps=NAMES)


def test_a_planner_is_killed_while_early_steps_run(
    planning: Stack, people: Client, records: Engine, fake: FakeLLM
) -> None:
    """The next planner asks the model again, and takes what began: nothing is lost, nothing runs twice."""
    fake.add(held(PLAN, "slow"), Scripted(text=json.dumps(PLAN)))
    task_id = submit(people)
    owner_of(records, task_id, "slow")

    os.kill(owner_of(records, task_id, "$plan"), signal.SIGKILL)

    assert_completed_once(people, task_id, steps=NAMES)
    assert [row_of(records, task_id, name)["attempt"] for name in NAMES] == [1, 1, 1]
    assert row_of(records, task_id, "$plan")["attempt"] == 2
    wait_until(lambda: len(planning.pids("planner")) == 1, 40, "the planner to be back")


def test_a_planner_dies_between_committing_early_steps_and_publishing_them(
    planning: Stack, people: Client, records: Engine, *, fake: FakeLLM, arm: Arm
) -> None:
    """The rows have no message: the sweeper publishes them, or the next planner adopts them."""
    fake.add(Scripted(text=json.dumps(PLAN)), Scripted(text=json.dumps(PLAN)))
    died = arm(Point.BEGUN_EARLY_NOT_PUBLISHED)
    task_id = submit(people)

    died()

    assert_completed_once(people, task_id, steps=NAMES)
    wait_until(lambda: len(planning.pids("planner")) == 1, 40, "the planner to be back")


def test_a_planner_dies_between_adopting_early_steps_and_publishing_the_round(
    planning: Stack, people: Client, records: Engine, *, fake: FakeLLM, arm: Arm
) -> None:
    """The running steps go on as steps of the round."""
    plan = plan_of(step("slow", seconds=2), step("first", seconds=1), step("last", "first", "slow"))
    (planner,) = planning.pids("planner")
    fake.add(held(plan, "slow"))
    task_id = submit(people)
    owner_of(records, task_id, "slow")
    died = arm(Point.COMMITTED_NOT_PUBLISHED)

    fake.release()

    assert died() == planner
    assert_completed_once(people, task_id, steps=NAMES)
    wait_until(lambda: len(planning.pids("planner")) == 1, 40, "the planner to be back")
