"""Hints that a task has new events: subscribers receive them, and a lost hint does no harm."""

import time
from typing import Any

import redis

from orchestrator.memory.hints import CHANNEL, MAX_UNSENT, STOP_CHANNEL, Hints
from tests.waiting import wait_until

OWN = ("task_1", "task_2", "task_3")
AWAY = "redis://127.0.0.1:1/0"


def test_a_hint_names_the_task(redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as client, client.pubsub(ignore_subscribe_messages=True) as heard:
        heard.subscribe(CHANNEL)
        heard.get_message(timeout=5)

        Hints(redis_url).send("task_1")

        assert _received(heard, 1) == ["task_1"]


def test_the_hints_of_a_moment_are_one_for_each_task_in_one_write(redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as client, client.pubsub(ignore_subscribe_messages=True) as heard:
        heard.subscribe(CHANNEL)
        heard.get_message(timeout=5)
        hints = Hints(redis_url)

        for _ in range(50):
            hints.send("task_1")
            hints.send("task_2")
        hints.end("task_3")

        received = _received(heard, 4)
    assert sorted(received) == ["end:task_3", "task_1", "task_2", "task_3"]


def test_an_end_is_announced_at_once_and_to_both_releases(redis_url: str) -> None:
    """The previous release knows only the bare id."""
    with redis.Redis.from_url(redis_url) as client, client.pubsub(ignore_subscribe_messages=True) as heard:
        heard.subscribe(CHANNEL)
        heard.get_message(timeout=5)

        Hints(redis_url).end("task_1", "task_2")

        assert _received(heard, 4) == ["task_1", "task_2", "end:task_1", "end:task_2"]


def _received(heard: Any, count: int) -> list[str]:
    """Return the next hints about the tasks of this file, and fail if there is one more."""
    found = [_next(heard, timeout=5) for _ in range(count)]
    assert _next(heard, timeout=0.1) is None
    return [str(hint) for hint in found]


def _next(heard: Any, *, timeout: float) -> str | None:
    """Return the next hint; one about a task of a test before, whose hints go out a moment later, is passed over."""
    while message := heard.get_message(timeout=timeout):
        hint = str(message["data"].decode())
        if hint.removeprefix("end:") in OWN:
            return hint
    return None


def test_without_redis_a_hint_raises_nothing_and_a_thousand_cost_no_more_than_one() -> None:
    hints = Hints(AWAY)

    started = time.monotonic()
    for _ in range(1000):
        hints.send("task_1")

    assert time.monotonic() - started < 1


def test_hints_that_redis_did_not_take_go_out_when_it_is_back(redis_url: str) -> None:
    hints = Hints(redis_url)
    with redis.Redis.from_url(redis_url) as client, client.pubsub(ignore_subscribe_messages=True) as heard:
        heard.subscribe(CHANNEL, STOP_CHANNEL)
        heard.get_message(timeout=5)
        heard.get_message(timeout=5)
        client.client_pause(400)

        hints.stop("task_1")
        hints.end("task_2")
        hints.send("task_3")

        # one whose answer came too late may come twice
        received: set[str | None] = set()
        wait_until(
            lambda: received.add(_next(heard, timeout=1)) or received >= {"task_1", "end:task_2", "task_3"},
            10,
            "the hints after the pause",
        )


def test_hints_for_a_redis_that_stays_away_are_bounded() -> None:
    hints = Hints(AWAY)

    for number in range(MAX_UNSENT + 10):
        hints.send(f"task_{number}")

    assert len(hints._gathered) <= MAX_UNSENT
