"""Real processes are killed at the worst moments for a crash: nothing is lost or counted twice."""

from http.client import RemoteDisconnected
from urllib.error import URLError

import pytest
from sqlalchemy import Engine

from orchestrator.devserver.stack import Stack
from orchestrator.process.crash_point import Point
from tests.acceptance.audit import assert_completed_once, reasons
from tests.acceptance.client import Client
from tests.acceptance.conftest import Arm
from tests.acceptance.plans import collect, wait
from tests.acceptance.proc import owner_of, row_of
from tests.waiting import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("whole_again")]

PLAN = {"steps": [wait("first", 1), collect("second", 1, "first"), wait("last", 1, "second")]}
NAMES = ["first", "second", "last"]


def test_a_planner_dies_between_committing_a_round_and_publishing_it(
    stack: Stack, client: Client, database: Engine, arm: Arm
) -> None:
    """The row of the round's first step has no message: the sweeper publishes it."""
    (planner,) = stack.pids("planner")
    died = arm(Point.COMMITTED_NOT_PUBLISHED)

    task_id = client.submit(plan=PLAN)

    assert died() == planner
    assert_completed_once(client, task_id, steps=NAMES)
    assert row_of(database, task_id, "first")["sends"] > 1


def test_a_worker_dies_between_committing_its_step_and_publishing_the_next(
    client: Client, database: Engine, arm: Arm
) -> None:
    """The finished step is not run again though its message is redelivered; the sweeper publishes the next step."""
    task_id = client.submit(plan=PLAN)
    worker = owner_of(database, task_id, "first")

    died = arm(Point.COMMITTED_NOT_PUBLISHED)

    assert died() == worker
    assert_completed_once(client, task_id, steps=NAMES)
    assert row_of(database, task_id, "first")["attempt"] == 1
    assert row_of(database, task_id, "second")["sends"] > 1


def test_a_worker_dies_between_committing_the_last_step_and_publishing_the_judge(
    client: Client, database: Engine, arm: Arm
) -> None:
    """The chord counts as fired, but the judge's row has no message: the sweeper publishes it."""
    task_id = client.submit(plan=PLAN)
    worker = owner_of(database, task_id, "last")

    died = arm(Point.COMMITTED_NOT_PUBLISHED)

    assert died() == worker
    assert_completed_once(client, task_id, steps=NAMES)


@pytest.mark.parametrize("name", ["first", "last"])
def test_a_worker_dies_between_publishing_and_acknowledging(
    client: Client, database: Engine, arm: Arm, name: str
) -> None:
    """Everything is done except the acknowledgement: the message is redelivered and has no effect."""
    task_id = client.submit(plan=PLAN)
    worker = owner_of(database, task_id, name)

    died = arm(Point.PUBLISHED_NOT_ACKNOWLEDGED)

    assert died() == worker
    assert_completed_once(client, task_id, steps=NAMES)
    assert row_of(database, task_id, name)["attempt"] == 1


def test_a_worker_dies_while_its_statement_runs_in_postgres(
    client: Client, database: Engine, arm: Arm
) -> None:
    """Without a commit the step's end and its consequences are rolled back, and the step runs again."""
    task_id = client.submit(plan=PLAN)
    worker = owner_of(database, task_id, "first")

    died = arm(Point.MID_STATEMENT)

    assert died() == worker
    assert_completed_once(client, task_id, steps=NAMES)
    assert reasons(client, task_id) == ["worker_lost"]
    assert row_of(database, task_id, "first")["attempt"] == 2


WRITES = b"import os\nopen(os.environ['OCTOLLM_OUT'] + '/left.txt', 'w').write('once')\n"


def test_a_worker_dies_between_saving_a_file_and_the_end_of_its_step(
    client: Client, database: Engine, arm: Arm
) -> None:
    """The step runs again and saves the same file: none is lost, and the result lists it once."""
    script = client.upload(WRITES, filename="make.py")
    make = {"id": "make", "arm": "executor", "action": "script", "inputs": {"attachments": [script]}}
    read = {"id": "read", "arm": "retriever", "action": "inventory"}
    file = {"$file": {"from": "make", "name": "left.txt"}}
    died = arm(Point.FILE_SAVED)

    task_id = client.submit(
        plan={"steps": [make, {**read, "inputs": {"attachment": file}}, collect("pass", file)]},
        attachments=[script],
        cache={"mode": "bypass"},
    )

    died()
    assert_completed_once(client, task_id, steps=["make", "read", "pass"])
    assert row_of(database, task_id, "make")["attempt"] == 2
    (listed,) = client.task(task_id)["result"]["artifacts"]
    assert (listed["step"], listed["name"], listed["size_bytes"]) == ("make", "left.txt", 4)
    with database.connect() as conn:
        stored = conn.exec_driver_sql("SELECT count(*) FROM artifacts WHERE filename = 'left.txt'").scalar()
    assert stored == 1


def test_an_api_process_dies_between_committing_a_task_and_publishing_it(
    client: Client, database: Engine, arm: Arm
) -> None:
    """The client gets no answer and repeats the request with the same key: it gets the committed task."""
    died = arm(Point.SUBMITTED_NOT_PUBLISHED)
    body: dict[str, object] = {"goal": "do it", "plan": PLAN}

    with pytest.raises((RemoteDisconnected, ConnectionError, URLError)):
        client.call("POST", "/v1/tasks", body, headers={"Idempotency-Key": "crash-point"})
    died()
    again = wait_until(lambda: _ask_again(client, body), 30, "the API to answer")

    assert_completed_once(client, again, steps=NAMES)
    assert row_of(database, again, "$plan")["sends"] > 1


def test_a_judge_dies_between_its_verdict_and_the_end_of_the_task(
    stack: Stack, client: Client, database: Engine, arm: Arm
) -> None:
    """An unrecorded verdict has no effect: after the lease has expired another judge decides, once."""
    (judge,) = stack.pids("judge")
    died = arm(Point.JUDGED_NOT_FINISHED)

    task_id = client.submit(plan=PLAN)

    assert died() == judge
    assert_completed_once(client, task_id, steps=NAMES)
    assert reasons(client, task_id) == ["lease_expired"]
    assert row_of(database, task_id, "$judge")["attempt"] == 2


def _ask_again(client: Client, body: dict[str, object]) -> str | None:
    try:
        answer = client.call("POST", "/v1/tasks", body, headers={"Idempotency-Key": "crash-point"})
    except (RemoteDisconnected, ConnectionError, URLError):
        return None
    assert (answer.status, answer.headers["Idempotency-Replayed"]) == (200, "true")
    return str(answer.body["task_id"])
