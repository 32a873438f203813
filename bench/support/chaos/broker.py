"""Faults of the broker's messages: duplicates, delays, and a broker out of memory."""

import time
from collections.abc import Iterator
from typing import Final

import redis

from orchestrator.models.arm_capability import ALL_QUEUES

QUEUES: Final = tuple(ALL_QUEUES)
_SEPARATOR: Final = "\x06\x16"
"""The separator that kombu puts between a queue's name and a priority."""


def queue_keys(broker: "redis.Redis") -> list[str]:
    """Return the Redis lists that contain messages now: one for each queue and priority."""
    found = {raw.decode() for raw in broker.scan_iter(count=1000, _type="list")}
    return sorted(key for key in found if key.partition(_SEPARATOR)[0] in QUEUES)


def duplicate(broker: "redis.Redis", *, most: int) -> int:
    """Copy waiting messages within their queues; return the number of copies."""
    count = 0
    for key in queue_keys(broker):
        copies: list[bytes] = broker.lrange(key, 0, most - 1)
        if copies:
            count += len(copies)
            broker.lpush(key, *copies)
    return count


def delay(broker: "redis.Redis", *, seconds: float) -> int:
    """Remove every message that arrives within `seconds` from its queue, then put all of them back."""
    held: list[tuple[str, bytes]] = []
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        for key in queue_keys(broker):
            held += [(key, message) for message in _drained(broker, key)]
        time.sleep(0.002)
    for key, message in held:
        broker.lpush(key, message)
    return len(held)


def fill(broker: "redis.Redis", *, seconds: float) -> None:
    """Make the broker refuse every command that needs memory, as a full one does."""
    broker.config_set("maxmemory", "1")
    try:
        time.sleep(seconds)
    finally:
        broker.config_set("maxmemory", "0")


def _drained(broker: "redis.Redis", key: str) -> Iterator[bytes]:
    while (message := broker.rpop(key)) is not None:
        yield message
