"""A queue without a consumer shows in readiness, arms and metrics; its tasks name the arm that they wait for."""

import json
import os
import re
import signal
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from orchestrator.devserver.stack import Stack
from tests.acceptance.client import Client
from tests.acceptance.plans import collect
from tests.waiting import wait_until

# expected within 15 s; the rest is for a busy machine
WITHIN_SECONDS = 15 + 5


@pytest.fixture
def frozen(stack: Stack) -> Iterator[None]:
    """Freeze the retriever's only worker: it consumes nothing and sends no heartbeat."""
    (worker,) = stack.pids("retriever")
    os.kill(worker, signal.SIGSTOP)
    yield
    os.kill(worker, signal.SIGCONT)
    wait_until(lambda: _ready(stack)["ready"], 30, "the retriever to be back")


@pytest.mark.slow
def test_an_arm_without_a_worker_is_visible_and_its_work_continues_with_the_next_worker(
    stack: Stack, client: Client, request: pytest.FixtureRequest
) -> None:
    request.getfixturevalue("frozen")

    task_id = client.submit(plan={"steps": [collect("a", 1)]})
    status = wait_until(
        lambda: _waiting(client, task_id), WITHIN_SECONDS, "the task to say what it waits for"
    )
    checks = _ready(stack)
    (arm,) = [arm for arm in client.call("GET", "/v1/arms").body["arms"] if arm["arm_id"] == "retriever"]
    wait_until(lambda: _workers(stack, "retriever") == 0, 5, "the gauge to fall")

    assert status["message"] == "waiting for arm retriever"
    assert (checks["ready"], checks["checks"]["workers"]["retriever"]) == (False, 0)
    assert checks["checks"]["workers"]["executor"] == 2
    assert (arm["status"], arm["metadata"]["workers"], arm["metadata"]["queue_depth"]) == (
        "unavailable",
        0,
        1,
    )
    assert _workers(stack, "executor") == 2

    os.kill(stack.pids("retriever")[0], signal.SIGCONT)
    ended = client.end_of(task_id)
    assert (ended["status"], ended["waiting_for"], ended["message"]) == ("completed", [], None)


def _waiting(client: Client, task_id: str) -> dict[str, object] | None:
    status = client.task(task_id)
    return status if status["waiting_for"] == ["retriever"] else None


def _ready(stack: Stack) -> dict[str, Any]:
    try:
        with urllib.request.urlopen(f"{stack.url}/ready", timeout=10) as answer:
            return dict(json.loads(answer.read()))
    except urllib.error.HTTPError as error:
        return dict(json.loads(error.read()))


def _workers(stack: Stack, arm: str) -> float:
    with urllib.request.urlopen(f"{stack.url}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    (number,) = re.findall(rf'^octollm_workers{{arm="{arm}"}} (\S+)$', text, re.MULTILINE)
    return float(number)
