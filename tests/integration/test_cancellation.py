"""A hint that a task ended sets the stop signals of its attempts at once, before the next heartbeat."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import redis
from sqlalchemy import Engine

from orchestrator.devserver.valkey import Valkey
from orchestrator.lifecycle import cancel
from orchestrator.memory.hints import STOP_CHANNEL, Hints
from tests.integration.kit import TENANT, Engineer, wait_step
from tests.waiting import wait_until
from workers.arms.base import CancelToken
from workers.runtime.cancellation import CancellationListener
from workers.runtime.heartbeat import Leases

NEVER = 3600.0


@pytest.fixture
def leases(engine: Engine) -> Leases:
    return Leases(engine, lease_seconds=2 * NEVER, heartbeat_seconds=NEVER)


@pytest.fixture
def redis_url(own_redis: Valkey) -> str:
    """A server of the test's own: listeners of earlier tests in this process go on, and would count."""
    return own_redis.url


@pytest.fixture
def listener(redis_url: str, leases: Leases) -> Iterator[CancellationListener]:
    """The listener of the process; it ends with its server."""
    made = CancellationListener(redis_url, leases)
    yield made
    made.stop()


@contextmanager
def working(
    engineer: Engineer, leases: Leases, listener: CancellationListener
) -> Iterator[tuple[str, CancelToken]]:
    """Hold the lease of a step of a new task."""
    task_id = engineer.start(wait_step("a"))
    claim = engineer.take(task_id, "a", lease_seconds=NEVER)
    with leases.hold(claim, deadline=time.monotonic() + NEVER) as token:
        listener.ensure_listening()
        yield task_id, token


def listeners(redis_url: str) -> int:
    with redis.Redis.from_url(redis_url) as client:
        return int(client.pubsub_numsub(STOP_CHANNEL)[0][1])


def test_the_end_of_a_task_stops_its_own_attempts_only(
    engineer: Engineer, leases: Leases, listener: CancellationListener, redis_url: str
) -> None:
    with (
        working(engineer, leases, listener) as (ended, token),
        working(engineer, leases, listener) as (_, other),
    ):
        wait_until(lambda: listeners(redis_url) == 1, 5, "one subscription of the process")

        cancel.cancel(engineer.engine, tenant=TENANT, task_id=ended)
        Hints(redis_url).stop(ended)

        assert token.wait(1.0)
        assert not other.is_set()


def test_an_end_announced_before_the_subscription_is_found_on_subscribing(
    engineer: Engineer, leases: Leases, listener: CancellationListener, redis_url: str
) -> None:
    task_id = engineer.start(wait_step("a"))
    claim = engineer.take(task_id, "a", lease_seconds=NEVER)
    cancel.cancel(engineer.engine, tenant=TENANT, task_id=task_id)

    with leases.hold(claim, deadline=time.monotonic() + NEVER) as token:
        listener.ensure_listening()

        assert token.wait(5.0)


def test_an_end_announced_between_the_claim_and_the_attempt_stops_it(
    engineer: Engineer, leases: Leases, listener: CancellationListener, redis_url: str
) -> None:
    with working(engineer, leases, listener) as (earlier, earlier_token):
        wait_until(lambda: listeners(redis_url) == 1, 5, "a subscription")
        task_id = engineer.start(wait_step("a"))
        claim = engineer.take(task_id, "a", lease_seconds=NEVER)
        cancel.cancel(engineer.engine, tenant=TENANT, task_id=task_id)
        cancel.cancel(engineer.engine, tenant=TENANT, task_id=earlier)
        hints = Hints(redis_url)
        for ended in (task_id, earlier):
            hints.stop(ended)
        assert earlier_token.wait(5.0), "the hints came in this order, so both have arrived"

        with leases.hold(claim, deadline=time.monotonic() + NEVER) as token:
            assert token.is_set()


def test_it_listens_again_after_the_connection_was_lost(
    engineer: Engineer, leases: Leases, listener: CancellationListener, redis_url: str
) -> None:
    with working(engineer, leases, listener) as (task_id, token):
        wait_until(lambda: listeners(redis_url) == 1, 5, "a subscription")
        # no hint is sent: only a new subscription looks for what was missed
        cancel.cancel(engineer.engine, tenant=TENANT, task_id=task_id)
        assert not token.is_set()

        with redis.Redis.from_url(redis_url) as client:
            client.execute_command("CLIENT", "KILL", "TYPE", "pubsub")

        assert token.wait(10.0)
