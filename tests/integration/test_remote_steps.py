"""HTTP arms in whole tasks: an arm that is out is passed over and comes back; a lost write asks a person."""

from collections.abc import Iterator

import pytest
import redis
from celery.exceptions import Ignore

from orchestrator.chord.database import statement
from orchestrator.memory import pools, registered_arms
from orchestrator.memory.pools import PoolReport
from orchestrator.models.arm_capability import ARMS, REMOTE, REMOTE_QUEUE
from orchestrator.planner.check import check_plan
from tests.http_arm import says, succeeds
from tests.integration.approval_kit import asked
from tests.integration.attempt_kit import run_step
from tests.integration.http_arm_kit import ARM, Caller, calling
from tests.integration.kit import TENANT, Engineer
from workers.attempt.context import AttemptContext
from workers.attempt.routing import choose_arms

OTHER = f"{TENANT}/backup"
STEP = {"id": "a", "action": "look", "capabilities": ["weather"], "inputs": {"city": "Bonn"}}


@pytest.fixture
def caller(engineer: Engineer) -> Iterator[Caller]:
    """A registered arm that answers 21 degrees, its live pool, and a process that may call it."""
    report = PoolReport(
        node="remote@here",
        queue=REMOTE_QUEUE,
        arm=REMOTE,
        concurrency=8,
        busy=0,
        isolation="not_needed",
        version="1",
        registry_digest="d",
    )
    with statement(engineer.engine) as conn:
        pools.record_heartbeat(conn, report)
    with calling(engineer) as made:
        yield made


def outage(caller: Caller) -> str | None:
    with statement(caller.process.engine) as conn:
        return pools.arm_statistics(conn, arms=[ARMS[ARM]])[ARM].outage


def test_the_pool_of_all_registered_arms_is_each_ones_workers(caller: Caller) -> None:
    with statement(caller.process.engine) as conn:
        found = pools.arm_statistics(conn, arms=[ARMS[ARM]])[ARM]

    assert (found.workers, found.concurrency, found.outage) == (1, 8, None)


def test_an_arm_that_is_out_is_passed_over(caller: Caller) -> None:
    caller.register(caller.arm.url, arm_id=OTHER)
    with statement(caller.process.engine) as conn:
        registered_arms.report_outage(conn, ARM, seconds=30, reason="it is out")
    plan = check_plan([STEP], tenant=TENANT)

    decision = choose_arms(caller.process, plan)["a"]

    assert decision["arm"] == OTHER
    assert decision["candidates"][f"{ARM}.look"] == {"excluded": "it is out"}


def test_an_arm_that_expired_is_passed_over(caller: Caller) -> None:
    caller.register(caller.arm.url, arm_id=OTHER)
    caller.register(caller.arm.url, ttl_seconds=0)

    decision = choose_arms(caller.process, check_plan([STEP], tenant=TENANT))["a"]

    assert decision["arm"] == OTHER


def test_an_arm_that_answers_again_is_no_longer_out(caller: Caller) -> None:
    caller.arm.behaves = says(500, b"")
    for _ in range(5):
        caller.error()
    before = outage(caller)
    caller.arm.behaves = succeeds(degrees=3)
    with redis.Redis.from_url(caller.process.settings.redis_url) as client:
        # as if its pause were over
        client.hset(f"octollm:llm:{{arm:{ARM}}}", "open_until", "1")

    assert caller.run().output == {"degrees": 3}
    assert (before is None, outage(caller)) == (False, None)


def test_a_write_whose_answer_was_lost_asks_a_person(caller: Caller, engineer: Engineer) -> None:
    caller.arm.behaves = says(502, b"")
    task_id = engineer.start({"id": "a", "arm": "weather", "action": "set", "inputs": {"city": "Bonn"}})

    with pytest.raises(Ignore):
        run_step(AttemptContext.of(caller.process, engineer.take(task_id, "a")))

    assert engineer.states(task_id)["a"] == "waiting"
    assert asked(engineer, task_id, "a").kind == "outcome"
    assert len(caller.arm.received) == 1


def test_a_write_that_was_refused_is_tried_again(caller: Caller, engineer: Engineer) -> None:
    caller.arm.behaves = says(429, b"")
    task_id = engineer.start({"id": "a", "arm": "weather", "action": "set", "inputs": {"city": "Bonn"}})

    with pytest.raises(Ignore):
        run_step(AttemptContext.of(caller.process, engineer.take(task_id, "a")))

    assert (engineer.states(task_id)["a"], engineer.row(task_id, "a")["failures"]) == ("queued", 1)
