"""Attacks by one tenant that exhausts shared resources: connections, streams, slots, priority."""

import socket
import time
from collections import Counter
from collections.abc import Generator, Iterator
from contextlib import ExitStack, contextmanager
from http import HTTPStatus
from typing import Final

from bench.support.attack.scene import ANSWER_SECONDS, DidNotHold, Scene
from tests.acceptance.client import Client
from tests.acceptance.plans import wait
from tests.waiting import wait_until

CROWD: Final = 300
_UNCLOSED: Final = 100
MINUTES: Final = 120.0
"""Duration of the attacker's steps if nothing ends them."""
_SCRIPT: Final = b"import time\ntime.sleep(120)\n"


def half_sent_heads(scene: Scene) -> Generator[None, None, str]:
    """300 requests whose head never ends, from five addresses."""
    return (yield from _half_sent(scene, b"POST /v1/tasks HTTP/1.1\r\nHost: a\r\nX-"))


def half_sent_bodies(scene: Scene) -> Generator[None, None, str]:
    """300 requests whose body never ends, from five addresses, with a valid token."""
    head = (
        "POST /v1/tasks HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
        f"Authorization: Bearer {scene.greedy.token}\r\nContent-Length: 1000\r\n\r\n{{"
    )
    return (yield from _half_sent(scene, head.encode()))


def _half_sent(scene: Scene, half: bytes) -> Generator[None, None, str]:
    with ExitStack() as stack:
        links = [stack.enter_context(_connect(scene, f"127.0.0.{2 + n % 5}")) for n in range(CROWD)]
        for link in links:
            link.sendall(half)
        yield
        began = time.monotonic()
        answer = scene.other.call("GET", "/health")
        seconds = time.monotonic() - began
    if answer.status != HTTPStatus.OK or seconds > ANSWER_SECONDS:
        raise DidNotHold(f"/health answers {answer.status} after {seconds:.1f} s")
    return f"{CROWD} open; /health answers after {seconds:.2f} s"


def answers_that_nobody_closes(scene: Scene) -> Generator[None, None, str]:
    """100 requests without a credential and with `Connection: close`, whose clients keep the connection open."""
    with ExitStack() as stack:
        links = [stack.enter_context(_connect(scene, f"127.0.0.{2 + n % 5}")) for n in range(_UNCLOSED)]
        for link in links:
            link.sendall(b"GET /health HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        yield
        statuses = Counter(status_of(link) for link in links)
    if set(statuses) != {HTTPStatus.OK}:
        raise DidNotHold(f"answered {dict(statuses)}")
    return f"{_UNCLOSED} x 200"


def all_streams(scene: Scene) -> Generator[None, None, str]:
    """One tenant opens 300 streams; another one opens its first."""
    task_id = scene.submit(wait("a", MINUTES))
    with ExitStack() as stack:
        links = [
            stack.enter_context(streaming(scene, task_id, token=scene.greedy.token)) for _ in range(CROWD)
        ]
        statuses = Counter(status_of(link) for link in links)
        yield
        theirs = scene.other.submit("stream", plan={"steps": [wait("a", 1)]})
        own = status_of(stack.enter_context(streaming(scene, theirs, token=scene.other.token)))
    scene.cancel([task_id])
    refused = statuses[HTTPStatus.TOO_MANY_REQUESTS] + statuses[HTTPStatus.SERVICE_UNAVAILABLE]
    if own != HTTPStatus.OK:
        raise DidNotHold(f"the other tenant's stream is answered {own}; the attacker's {dict(statuses)}")
    if not refused:
        raise DidNotHold(f"one tenant got all of {CROWD} streams: {dict(statuses)}")
    return f"{statuses[HTTPStatus.OK]} opened, {refused} refused; the other tenant's opens"


def three_long_scripts(scene: Scene) -> Generator[None, None, str]:
    """More scripts of two minutes than the executor has slots."""
    script = scene.greedy.upload(_SCRIPT, filename="long.py")
    step = {"id": "a", "arm": "executor", "action": "script", "inputs": {"attachments": [script]}}
    tasks = [scene.submit(step, attachments=[script]) for _ in range(3)]
    wait_until(lambda: any(_is_started(scene.greedy, task) for task in tasks), 30, "a script to run")
    yield
    begun = sum(_is_started(scene.greedy, task) for task in tasks)
    ended = sum(scene.greedy.task(task)["status"] != "processing" for task in tasks)
    scene.cancel(tasks)
    return f"{begun - ended} of 3 ran beside it, {ended} had ended"


def priority_without_the_scope(scene: Scene) -> Generator[None, None, str]:
    """A task of priority `critical` by a token that may submit, read and cancel."""
    plain = scene.client("greedy", scopes=("task:submit", "task:read", "task:cancel"))
    body = {"goal": "first", "priority": "critical", "plan": {"steps": [wait("a")]}}
    answer = plain.call("POST", "/v1/tasks", body)
    yield
    if answer.status != HTTPStatus.FORBIDDEN:
        raise DidNotHold(f"answered {answer.status}")
    return f"answered {answer.status} {answer.body.get('code', '')}"


def _is_started(client: Client, task_id: str) -> bool:
    return any(
        event["type"] == "step.started" and event["data"]["step"] == "a" for event in client.events(task_id)
    )


@contextmanager
def _connect(scene: Scene, source: str) -> Iterator[socket.socket]:
    with socket.create_connection(
        ("127.0.0.1", scene.stack.port), timeout=30, source_address=(source, 0)
    ) as link:
        yield link


@contextmanager
def streaming(scene: Scene, task_id: str, *, token: str = "", query: str = "") -> Iterator[socket.socket]:
    """Open a stream of a task's events, authenticated by `token` or `query`."""
    shown = f"Authorization: Bearer {token}\r\n" if token else ""
    with _connect(scene, "127.0.0.1") as link:
        link.sendall(
            f"GET /v1/tasks/{task_id}/events{query} HTTP/1.1\r\nHost: a\r\n"
            f"Accept: text/event-stream\r\nConnection: close\r\n{shown}\r\n".encode()
        )
        yield link


def status_of(link: socket.socket) -> int:
    """Return the status of the answer; 0 if none arrives in time."""
    link.settimeout(ANSWER_SECONDS)
    try:
        words = link.recv(200).split(b" ", 2)
    except OSError:
        return 0
    return int(words[1]) if len(words) > 1 else 0
