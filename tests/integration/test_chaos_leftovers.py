"""What bench/chaos.py looks for outside of Postgres: each kind of thing that may be left is found when it is."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from celery import Celery

from bench.support.chaos import leftovers
from orchestrator.queue import canvas
from orchestrator.queue.app import make_app
from tests.integration.kit import Engineer, wait_step

NOBODY = 2**22 + 1
"""A process id that Linux never gives."""


@pytest.fixture
def broker(redis_url: str) -> Iterator["redis.Redis"]:
    """The broker as an operator sees it."""
    with redis.Redis.from_url(redis_url) as client:
        yield client


@pytest.fixture
def app(engineer: Engineer) -> Iterator[Celery]:
    """An application that publishes and consumes as the product does."""
    with make_app(lambda: engineer.settings) as app:
        yield app


def test_a_message_in_a_queue_is_found(engineer: Engineer, broker: "redis.Redis", app: Celery) -> None:
    engineer.submit(wait_step("a"))
    assert list(leftovers.messages(broker)) == []

    canvas.publish(app, engineer.published)

    assert [found.check for found in leftovers.messages(broker)] == ["message_left"]


def test_a_copy_of_a_message_that_a_worker_took_is_found(broker: "redis.Redis") -> None:
    """Workers of this release keep none in Redis."""
    broker.hset("unacked", "tag", "[{}]")

    assert [found.subject for found in leftovers.keys(broker)] == ["unacked"]


def test_a_key_that_never_expires_is_found(broker: "redis.Redis") -> None:
    broker.set("for a while", "x", ex=60)
    assert list(leftovers.keys(broker)) == []

    broker.set("for ever", "x")

    assert [found.subject for found in leftovers.keys(broker)] == ["for ever"]


@pytest.mark.parametrize(
    "environ", [{"HERE": "/the/home/of/the/stack"}, {"OCTOLLM_SANDBOX": f"octollm-sandbox:{NOBODY}:1"}]
)
def test_a_process_of_the_stack_or_of_its_sandboxes_is_found(environ: dict[str, str]) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", "input()"], stdin=subprocess.PIPE, env={**os.environ, **environ}
    ) as left:
        found = list(leftovers.processes("/the/home/of/the/stack", {NOBODY}))
        left.communicate(b"\n")

    assert [one.subject for one in found] == [str(left.pid)]
    assert list(leftovers.processes("/the/home/of/the/stack", {NOBODY})) == []


def test_a_directory_of_a_dead_worker_is_found() -> None:
    with tempfile.TemporaryDirectory(prefix=f"octollm-{NOBODY}-1-") as left:
        assert [found.subject for found in leftovers.directories({NOBODY})] == [str(Path(left))]

    assert list(leftovers.directories({NOBODY})) == []
