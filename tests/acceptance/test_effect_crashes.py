"""A worker is killed at each moment around an effect: it never happens twice, and what is unknown is asked.

The effects are lines in a file outside of the system.
"""

import os
import signal
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Engine

from orchestrator.devserver.stack import Stack
from orchestrator.process.crash_point import Point
from tests.acceptance.audit import assert_completed_once, reasons
from tests.acceptance.client import Client
from tests.acceptance.conftest import Arm
from tests.acceptance.plans import wait
from tests.acceptance.proc import owner_of, row_of
from tests.ledger import Ledger, append
from tests.waiting import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("whole_again")]

NAMES = ["write", "after"]


def submit(client: Client, **inputs: Any) -> str:
    """Submit a task that writes a line and then waits."""
    return client.submit(plan={"steps": [append("write", **inputs), wait("after", 0, "write")]})


def lines_of(ledger: Ledger, database: Engine, task_id: str) -> list[int]:
    """Return the attempts that wrote the task's line."""
    key = row_of(database, task_id, "write").get("id")
    return [line.attempt for line in ledger.lines() if line.key == key]


def question_of(client: Client, task_id: str) -> dict[str, Any]:
    """Wait until a person is asked about the task, and return what is asked."""
    (question,) = wait_until(lambda: client.questions(task_id), 60, "a question")
    return question


def asked(client: Client, task_id: str) -> int:
    """Return how many questions were ever asked about the task."""
    return len(client.call("GET", f"/v1/approvals?task_id={task_id}").body["approvals"])


def test_a_worker_dies_after_its_claim_and_before_the_mark(
    stack: Stack, client: Client, database: Engine, ledger: Ledger, arm: Arm
) -> None:
    """Nothing has happened: the step runs again by itself."""
    (worker,) = stack.pids("ledger")
    died = arm(Point.CLAIMED_NOT_BEGUN)

    task_id = submit(client)

    assert died() == worker
    assert_completed_once(client, task_id, steps=NAMES)
    assert reasons(client, task_id) == ["lease_expired"]
    assert (lines_of(ledger, database, task_id), asked(client, task_id)) == ([2], 0)


def test_a_worker_dies_after_the_mark_and_before_the_call(
    client: Client, database: Engine, ledger: Ledger, arm: Arm
) -> None:
    """Nothing has happened, but nobody can know: a person looks and lets it run again, with the same key."""
    died = arm(Point.BEGUN_NOT_CALLED)
    task_id = submit(client)
    worker = died()

    question = question_of(client, task_id)
    assert question["kind"] == "outcome"
    assert question["proposal"]["effect"]["worker"].endswith(f":{worker}")
    assert lines_of(ledger, database, task_id) == []
    client.decide(question, "run_again")

    assert_completed_once(client, task_id, steps=NAMES)
    assert (lines_of(ledger, database, task_id), asked(client, task_id)) == ([2], 1)


@pytest.mark.parametrize(
    "point", [Point.CALLED_NOT_RETURNED, Point.RETURNED_NOT_STORED, Point.MID_STATEMENT], ids=str
)
def test_a_worker_dies_with_the_effect_and_before_it_is_stored(
    client: Client, database: Engine, ledger: Ledger, arm: Arm, point: Point
) -> None:
    """It has happened: a person finds its key and accepts it, and it does not happen again."""
    task_id = submit(client, seconds_before=1)
    worker = owner_of(database, task_id, "write")
    died = arm(point)
    assert died() == worker

    question = question_of(client, task_id)
    assert lines_of(ledger, database, task_id) == [1]
    client.decide(question, "accept", answer={"summary": "it is there", "key": "k"})

    assert_completed_once(client, task_id, steps=NAMES)
    assert lines_of(ledger, database, task_id) == [1]
    assert row_of(database, task_id, "write")["result"]["output"] == {"summary": "it is there", "key": "k"}


def test_a_worker_dies_after_it_stored_the_effect(
    client: Client, database: Engine, ledger: Ledger, arm: Arm
) -> None:
    """Nothing is unknown: the next step is published by the sweeper."""
    task_id = submit(client, seconds_after=1)
    worker = owner_of(database, task_id, "write")

    died = arm(Point.COMMITTED_NOT_PUBLISHED)

    assert died() == worker
    assert_completed_once(client, task_id, steps=NAMES)
    assert (lines_of(ledger, database, task_id), asked(client, task_id)) == ([1], 0)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=["stopped", "killed"])
def test_a_worker_that_ends_during_the_effect_has_it_asked_about(
    stack: Stack, client: Client, database: Engine, ledger: Ledger, number: signal.Signals
) -> None:
    """A shutdown hands the lease back after the grace time; the effect is asked about all the same."""
    task_id = submit(client, seconds_after=60)
    wait_until(lambda: lines_of(ledger, database, task_id), 60, "the effect")
    worker = owner_of(database, task_id, "write")

    os.kill(worker, number)

    question = question_of(client, task_id)
    assert question["proposal"]["effect"]["reason"] == (
        "handed_back" if number == signal.SIGTERM else "lease_expired"
    )
    client.decide(question, "reject", comment="it is there")
    assert client.end_of(task_id)["status"] == "failed"
    assert row_of(database, task_id, "write")["result"]["error"]["code"] == "outcome_unknown"
    assert lines_of(ledger, database, task_id) == [1]
    wait_until(lambda: worker not in stack.pids("ledger"), 40, "another worker")


def test_a_lost_idempotent_write_runs_again_by_itself_with_the_same_key(
    client: Client, database: Engine, ledger: Ledger, arm: Arm
) -> None:
    died: Callable[[], int] = arm(Point.CALLED_NOT_RETURNED)

    task_id = submit(client, action="put")
    died()

    assert_completed_once(client, task_id, steps=NAMES)
    assert (lines_of(ledger, database, task_id), asked(client, task_id)) == ([1, 2], 0)
