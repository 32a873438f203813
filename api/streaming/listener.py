"""Listens to hints: one subscription a process, taken up again whenever Redis comes back."""

import threading
from collections.abc import Callable

from orchestrator.connections.redis_client import open_subscriber
from orchestrator.memory.hints import CHANNEL

PAUSE_SECONDS = 0.5
"""How long after a lost connection it is tried again, at most."""


def hear(
    redis_url: str, *, hint: Callable[[str], None], resubscribed: Callable[[], None], stop: threading.Event
) -> None:
    """Call `resubscribed` once, and `hint` with each hint's task id, until `stop` is set or Redis goes away.

    Hints that were sent between two subscriptions are lost; so are those of a Redis that is frozen. Raises RedisError.
    """
    client = open_subscriber(redis_url)
    with client, client.pubsub() as heard:  # type: ignore[no-untyped-call]  # theirs
        heard.subscribe(CHANNEL)
        while not stop.is_set():
            message = heard.get_message(timeout=1.0)
            if message is None:
                continue
            if message["type"] == "subscribe":
                resubscribed()
            elif message["type"] == "message":
                hint(message["data"].decode(errors="replace"))
