"""Real processes are killed, frozen and emptied; every accepted task still ends, and each step counts once."""

import os
import signal

import pytest
import redis
from sqlalchemy import Engine

from orchestrator.devserver.stack import Stack
from tests.acceptance.audit import assert_completed_once, reasons
from tests.acceptance.client import Client
from tests.acceptance.plans import collect, wait
from tests.acceptance.proc import owner_of, parent_of, row_of
from tests.waiting import wait_until

pytestmark = pytest.mark.usefixtures("whole_again")


def test_a_killed_child_costs_its_step_one_attempt(stack: Stack, client: Client, database: Engine) -> None:
    """SIGKILL of the child that runs the step: its parent returns the lease at once and the step runs again."""
    task_id = client.submit(plan={"steps": [wait("slow", 2), collect("after", 1, "slow")]})
    pid = owner_of(database, task_id, "slow")

    os.kill(pid, signal.SIGKILL)

    assert_completed_once(client, task_id, steps=["after", "slow"])
    assert reasons(client, task_id) == ["worker_lost"]
    assert row_of(database, task_id, "slow")["attempt"] == 2


@pytest.mark.slow
def test_a_killed_worker_costs_its_step_one_lease(stack: Stack, client: Client, database: Engine) -> None:
    """SIGKILL of a worker with all its children: nothing returns the lease, so it expires."""
    task_id = client.submit(plan={"steps": [wait("slow", 2)]})
    child = owner_of(database, task_id, "slow")

    for pid in (parent_of(child), child):
        os.kill(pid, signal.SIGKILL)

    assert_completed_once(client, task_id, steps=["slow"])
    assert reasons(client, task_id) in (["lease_expired"], ["worker_lost"])


@pytest.mark.slow
def test_a_frozen_worker_that_continues_does_not_record_its_step_twice(
    stack: Stack, client: Client, database: Engine
) -> None:
    """SIGSTOP until after the lease: another worker runs the step; the late outcome is refused."""
    task_id = client.submit(plan={"steps": [wait("slow", 1), collect("after", 1, "slow")]})
    child = owner_of(database, task_id, "slow")
    frozen = [parent_of(child), child]
    for pid in frozen:
        os.kill(pid, signal.SIGSTOP)

    try:
        assert_completed_once(client, task_id, steps=["after", "slow"])
    finally:
        for pid in frozen:
            os.kill(pid, signal.SIGCONT)
    wait_until(
        lambda: client.run(plan={"steps": [wait("next", 0.2)]})["status"] == "completed", 60, "work to go on"
    )

    assert_completed_once(client, task_id, steps=["after", "slow"])


@pytest.mark.parametrize(
    "kind",
    [
        "judge",
        "sweeper",
        pytest.param("planner", marks=pytest.mark.slow),
        pytest.param("retriever", marks=pytest.mark.slow),
    ],
)
def test_a_killed_pool_of_any_kind_only_delays(stack: Stack, client: Client, kind: str) -> None:
    """SIGKILL of the planner, the judge, an arm or the sweeper while tasks run."""
    ids = [
        client.submit(plan={"steps": [collect("a", 1), wait("b", 0.1, "a"), collect("c", 2, "b")]})
        for _ in range(5)
    ]

    for pid in stack.pids(kind):
        os.kill(pid, signal.SIGKILL)

    for task_id in ids:
        assert_completed_once(client, task_id, steps=["a", "b", "c"])


def test_an_emptied_broker_loses_nothing(stack: Stack, client: Client) -> None:
    """FLUSHALL while messages wait: queued rows are published again at once."""
    ids = [client.submit(plan={"steps": [wait("a", 0.2), collect("b", 1, "a")]}) for _ in range(10)]

    with redis.Redis.from_url(stack.redis_url) as broker:
        broker.flushall()

    for task_id in ids:
        assert_completed_once(client, task_id, steps=["a", "b"])
