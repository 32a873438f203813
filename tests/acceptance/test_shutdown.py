"""Workers that get SIGTERM: short steps finish, long ones return to the queue without a counted failure."""

import os
import signal
import time

import pytest
from sqlalchemy import Engine

from orchestrator.devserver.stack import Stack
from tests.acceptance.client import Client
from tests.acceptance.conftest import GRACE_SECONDS
from tests.acceptance.plans import wait
from tests.acceptance.proc import owner_of, parent_of, row_of
from tests.waiting import wait_until


@pytest.fixture(autouse=True)
def _both_at_work(stack: Stack, client: Client, database: Engine) -> None:
    """Wait until both executor workers accept steps: a new one needs a while."""

    def both_took_steps() -> bool:
        names = [f"s{number}" for number in range(4)]
        task = client.run(plan={"steps": [wait(name, 0.3) for name in names]})
        owners = [row_of(database, task["task_id"], name)["owner"] for name in names]
        workers = {parent_of(int(owner.rpartition(":")[2])) for owner in owners}
        return workers == set(stack.pids("executor")) and len(workers) == 2

    wait_until(both_took_steps, 60, "both of the executor's workers to take steps")


def test_a_worker_told_to_stop_lets_its_running_step_finish(
    stack: Stack, client: Client, database: Engine
) -> None:
    """SIGTERM: the running step is neither lost nor repeated, and the worker ends after it."""
    task_id = client.submit(plan={"steps": [wait("short", 1)]})
    worker = parent_of(owner_of(database, task_id, "short"))

    os.kill(worker, signal.SIGTERM)
    task = client.end_of(task_id)
    wait_until(lambda: worker not in stack.pids("executor"), GRACE_SECONDS + 5, "the worker to end")

    assert task["status"] == "completed"
    assert row_of(database, task_id, "short")["attempt"] == 1


@pytest.mark.slow
def test_a_step_longer_than_the_grace_time_is_returned_at_once(
    stack: Stack, client: Client, database: Engine
) -> None:
    """After the grace time another worker starts the step, long before the lease would expire."""
    task_id = client.submit(plan={"steps": [wait("long", GRACE_SECONDS + 3)]})
    child = owner_of(database, task_id, "long")

    os.kill(parent_of(child), signal.SIGTERM)
    stopped_at = time.monotonic()
    wait_until(
        lambda: row_of(database, task_id, "long")["attempt"] == 2, GRACE_SECONDS + 10, "the second attempt"
    )
    handed_over_in = time.monotonic() - stopped_at - GRACE_SECONDS
    task = client.end_of(task_id)

    row = row_of(database, task_id, "long")
    reasons = [
        event["data"]["reason"] for event in client.events(task_id) if event["type"] == "step.retrying"
    ]
    assert task["status"] == "completed"
    assert reasons == ["handed_back"]
    assert (row["kills"], row["failures"]) == (0, 0)
    assert handed_over_in < 5
