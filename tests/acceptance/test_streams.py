"""Streams while real processes end, freeze and restart: each client receives each event exactly once."""

import os
import random
import signal
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import redis

from orchestrator.devserver.stack import ONE_OF_EACH, Stack
from tests.acceptance.client import Client
from tests.acceptance.conftest import client_of
from tests.acceptance.listeners import Listener
from tests.acceptance.plans import collect, wait
from tests.waiting import wait_until
from tests.ws import WebSocket


def test_an_event_of_any_process_reaches_a_stream_within_a_second(client: Client) -> None:
    """The planner, thread and prefork workers, the judge and the API publish hints after their commits."""
    task_id = client.submit(plan={"steps": [collect("a", 1), wait("b", 0.1, "a")]})
    with _open(client, task_id) as stream:
        first = stream.next()
        late = [_seconds_since(message["timestamp"]) for message in stream.rest()]

    assert first["type"] == "task.submitted"
    assert max(late) < 1, late


@pytest.mark.slow
def test_clients_that_reconnect_while_the_api_restarts_receive_each_event_once(
    stack: Stack, client: Client
) -> None:
    """SIGTERM to the API: its streams close at once with a request to reconnect, and do so."""
    task_ids = [client.submit(plan={"steps": _chain(8, 0.2)}) for _ in range(4)]
    listeners = _listen(client, task_ids, count=24, seconds=60)
    wait_until(lambda: all(listener.seqs for listener in listeners), 20, "everybody to hear something")

    began = time.monotonic()
    (web,) = stack.pids("web")
    os.kill(web, signal.SIGTERM)
    wait_until(lambda: web not in stack.pids("web"), 10, "the API to end")
    ended_after = time.monotonic() - began

    _assert_each_event_once(client, listeners)
    assert ended_after < 5
    assert sum(listener.ends[1001] for listener in listeners) > 0


@pytest.fixture
def own_stack() -> Iterator[Stack]:
    """A separate stack for faults, with its own servers and room for 200 streams in each API process."""
    environ = {"DATABASE_URL": "", "REDIS_URL": "", "LOG_LEVEL": "warning", "WEB_THREADS": "256"}
    # all streams are one tenant's; those of a killed process count a while longer
    limits = {"RATE_LIMIT": "1000000/minute", "TENANT_MAX_STREAMS": "1000"}
    with (
        tempfile.TemporaryDirectory(prefix="octollm-streams-") as folder,
        Stack(
            Path(folder),
            port=0,
            environ={**environ, **limits},
            durable=False,
            processes={**ONE_OF_EACH, "executor": 2},
        ) as running,
    ):
        yield running


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_200_sockets_receive_each_event_once_through_restarts_and_a_frozen_redis(own_stack: Stack) -> None:
    """20 tasks; the API gets SIGTERM, then SIGKILL; Redis freezes for 10 s and then drops its subscribers."""
    client = client_of(own_stack, tenant="acme")
    task_ids = [client.submit(plan={"steps": _chain(12, 0.5)}) for _ in range(20)]
    listeners = _listen(client, task_ids, count=200, seconds=200)
    wait_until(lambda: all(listener.seqs for listener in listeners), 60, "everybody to hear something")

    _end_api(own_stack, signal.SIGTERM)
    wait_until(lambda: own_stack.pids("web"), 20, "the API to be started again")
    _freeze_redis(own_stack, seconds=10)
    _end_api(own_stack, signal.SIGKILL)

    _assert_each_event_once(client, listeners)
    ends = sum((listener.ends for listener in listeners), Counter())
    assert ends[1000] >= 100
    assert ends[1001] > 0
    # a stopping process refuses some streams; a limit would refuse nearly all
    assert ends["refused"] < ends[1000]
    assert ends["left"] > 200


def _listen(client: Client, task_ids: Sequence[str], *, count: int, seconds: float) -> list[Listener]:
    give_up_at = time.monotonic() + seconds
    listeners = [
        Listener(
            client, task_ids[number % len(task_ids)], chance=random.Random(number), give_up_at=give_up_at
        )
        for number in range(count)
    ]
    for listener in listeners:
        listener.start()
    return listeners


def _assert_each_event_once(client: Client, listeners: Sequence[Listener]) -> None:
    for listener in listeners:
        listener.join(200)
    events = {task_id: _events(client, task_id) for task_id in {listener.task_id for listener in listeners}}
    for listener in listeners:
        told = events[listener.task_id]
        assert listener.last_type == told[-1]["type"] == "task.completed", listener.ends
        assert listener.seqs == list(range(1, len(told) + 1)), listener.ends


def _events(client: Client, task_id: str) -> list[dict[str, Any]]:
    """Return the task's events; retry, since an API worker whose parent was killed drops connections until it ends."""

    def ask() -> list[dict[str, Any]]:
        with suppress(OSError):
            return client.events(task_id)
        return []

    return wait_until(ask, 60, "the API to answer")


def _chain(length: int, seconds: float) -> list[dict[str, object]]:
    return [wait(f"s{n}", seconds, *([f"s{n - 1}"] if n else [])) for n in range(length)]


def _end_api(stack: Stack, number: signal.Signals) -> None:
    (web,) = wait_until(lambda: stack.pids("web"), 20, "the API to run")
    os.kill(web, number)
    wait_until(lambda: web not in stack.pids("web"), 20, "the API to end")


def _freeze_redis(stack: Stack, *, seconds: float) -> None:
    pid = int((stack.home / "valkey" / "pid").read_text())
    os.kill(pid, signal.SIGSTOP)
    try:
        threading.Event().wait(seconds)
    finally:
        os.kill(pid, signal.SIGCONT)
    with redis.Redis.from_url(stack.redis_url) as broker:
        broker.client_kill_filter(_type="pubsub")


def _open(client: Client, task_id: str) -> WebSocket:
    return WebSocket.open(
        client.url,
        f"/v1/tasks/{task_id}/stream",
        headers={"Authorization": f"Bearer {client.token}"},
    )


def _seconds_since(timestamp: str) -> float:
    return (datetime.now(UTC) - datetime.fromisoformat(timestamp)).total_seconds()
