"""Listens to hints: one subscription a process, taken up again whenever Redis comes back."""

import threading
from collections.abc import Callable

import redis
import structlog

from orchestrator.redis_link import open_subscriber
from orchestrator.store.hints import CHANNEL

_PAUSE_SECONDS = 0.5

log = structlog.get_logger(__name__)


def listen(
    redis_url: str, *, hint: Callable[[str], None], resubscribed: Callable[[], None], stop: threading.Event
) -> None:
    """Call `hint` with each hint's task id, and `resubscribed` with each subscription, until `stop` is set.

    Hints that were sent between two subscriptions are lost; so are those of a Redis that is frozen.
    """
    is_away = False
    while not stop.is_set():
        try:
            _hear(redis_url, hint=hint, resubscribed=resubscribed, stop=stop)
        except redis.RedisError as error:
            if not is_away:
                log.warning("listener.redis_away", error=type(error).__name__)
            is_away = True
            stop.wait(_PAUSE_SECONDS)
        else:
            is_away = False


def _hear(
    redis_url: str, *, hint: Callable[[str], None], resubscribed: Callable[[], None], stop: threading.Event
) -> None:
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
