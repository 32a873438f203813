"""Redis accepts connections and never answers: every wait for it is bounded."""

import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace

import pytest

from api.streaming import tickets
from orchestrator import bootstrap
from orchestrator.auth.credential import Principal
from orchestrator.auth.rate_limit import RateLimiter
from orchestrator.bootstrap import WorkerProcess
from orchestrator.cache.exact import ResultCache
from orchestrator.cache.redis_policy import refuse_eviction
from orchestrator.cli import checks
from orchestrator.connections.redis_client import open_client
from orchestrator.devserver.valkey import Valkey
from orchestrator.memory.hints import Hints
from orchestrator.models.caller import Caller
from orchestrator.models.errors import Unavailable
from orchestrator.models.task_contract import Contract
from orchestrator.orchestrator import Orchestrator
from orchestrator.queue.app import make_app
from orchestrator.settings import Settings
from orchestrator.settings_text import Rate
from tests.integration.kit import TENANT, Engineer, wait_step
from workers.sweeper import Sweeper

BOUND_SECONDS = 20.0
"""The longest acceptable wait; the present bounds give 2 to 5 seconds."""


@pytest.fixture
def mute() -> Iterator[str]:
    """The URL of a server that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=512) as listener:
        yield f"redis://127.0.0.1:{listener.getsockname()[1]}/0"


@contextmanager
def frozen(server: Valkey) -> Iterator[None]:
    """A server that answered and is then stopped by a signal."""
    pid = open_client(server.url).info("server")["process_id"]
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def seconds_for(work: Callable[[], object]) -> float:
    """Run `work` and return how many seconds it took."""
    started = time.monotonic()
    work()
    return time.monotonic() - started


def submit(orchestrator: Orchestrator, goal: str) -> str:
    """Accept a task as POST does."""
    return orchestrator.submit(
        Caller(TENANT),
        Contract(goal=goal, plan={"steps": [wait_step("a")]}),
    ).task_id


def test_tasks_are_accepted_while_the_broker_is_mute(
    our_settings: Settings, engineer: Engineer, mute: str
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("orchestrator.bootstrap.refuse_eviction", lambda _: None)
        orchestrator = bootstrap.for_api(replace(our_settings, redis_url=mute))
    # more at once than the broker's pool of producers holds
    with ThreadPoolExecutor(32) as callers:
        took = seconds_for(lambda: list(callers.map(lambda n: submit(orchestrator, f"task {n}"), range(32))))

    assert took < BOUND_SECONDS
    assert engineer.ask("SELECT count(*) AS tasks FROM tasks") == [{"tasks": 32}]


def test_a_connected_broker_that_freezes_blocks_no_one(
    our_settings: Settings, engineer: Engineer, own_redis: Valkey
) -> None:
    orchestrator = bootstrap.for_api(replace(our_settings, redis_url=own_redis.url))
    submit(orchestrator, "connect")

    with frozen(own_redis):
        first = seconds_for(lambda: submit(orchestrator, "first"))
        second = seconds_for(lambda: submit(orchestrator, "second"))

    assert first + second < BOUND_SECONDS
    assert {row["state"] for row in engineer.ask("SELECT state FROM steps")} == {"queued"}


def test_a_broker_that_restarted_gets_the_next_message(our_settings: Settings, own_redis: Valkey) -> None:
    orchestrator = bootstrap.for_api(replace(our_settings, redis_url=own_redis.url))
    submit(orchestrator, "before")

    own_redis.stop()
    own_redis.start()
    submit(orchestrator, "after")

    assert [key.startswith(b"planner") for key in open_client(own_redis.url).scan_iter()] == [True]


@pytest.mark.slow
def test_a_sweep_ends_while_the_broker_is_mute(our_settings: Settings, engineer: Engineer, mute: str) -> None:
    for _ in range(3):
        engineer.submit(wait_step("a"))
    engineer.ask("UPDATE steps SET due = now()")
    chosen = replace(our_settings, redis_url=mute)
    worker = WorkerProcess(chosen, engineer.engine, Hints(mute), make_app(lambda: chosen), owner="me")

    assert seconds_for(Sweeper(worker, open_client(mute)).tick) < BOUND_SECONDS


@pytest.mark.slow
def test_every_other_use_of_redis_is_bounded(our_settings: Settings, mute: str) -> None:
    chosen = replace(our_settings, redis_url=mute)
    limiter, cache = RateLimiter(mute), ResultCache(chosen)

    def ask_all() -> None:
        refuse_eviction(mute)
        limiter.take("me", Rate(1, 1))
        Hints(mute).send("task_1")
        cache.store.get("key")
        stranger = Principal(TENANT, "key", frozenset(), subject="me")
        with pytest.raises(Unavailable):
            tickets.issue(open_client(mute), stranger, task_id="task_1", secret=b"s" * 32)
        told = [result.message for result in checks.redis(chosen)]
        assert told[0].startswith("it does not answer")

    assert seconds_for(ask_all) < BOUND_SECONDS
