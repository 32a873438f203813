"""Finds what chaos left outside of Postgres: messages, keys, processes, sandbox directories."""

import re
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import redis

from bench.support.chaos import victims
from bench.support.chaos.auditor import Violation
from bench.support.chaos.broker import QUEUES, queue_keys

Ask = Callable[..., list[dict[str, Any]]]
"""Runs a statement with named values and returns its rows."""

_LASTING: Final = ("_kombu.binding", "octollm:broker-epoch", *QUEUES)
"""Keys that may stay: the broker's, which `messages` checks, and the mark by which a lost broker is noticed."""

_SANDBOX: Final = re.compile(r"octollm-sandbox:(\d+):")


def messages(broker: "redis.Redis") -> Iterator[Violation]:
    """Yield queues that are not empty."""
    for key in queue_keys(broker):
        yield Violation("message_left", key, f"{broker.llen(key)} messages")


def keys(broker: "redis.Redis") -> Iterator[Violation]:
    """Yield keys without an expiry that nothing removes."""
    for raw in broker.scan_iter(count=1000):
        key = raw.decode()
        if not key.startswith(_LASTING) and broker.ttl(raw) == -1:
            yield Violation("key_left", key, "it never expires")


def processes(mark: str, ended: set[int]) -> Iterator[Violation]:
    """Yield processes with `mark` in their environment, and sandboxes of the `ended` processes."""
    for pid in victims.others():
        told = victims.told_of(pid)
        owner = _SANDBOX.search(told)
        if mark in told or (owner is not None and int(owner[1]) in ended):
            yield Violation("process_left", str(pid), told.partition("\n")[0][:200])


def directories(ended: set[int]) -> Iterator[Violation]:
    """Yield temporary directories of the `ended` workers."""
    for path in Path(tempfile.gettempdir()).glob("octollm-*-*-*"):
        owner = path.name.split("-")[1]
        if owner.isdigit() and int(owner) in ended:
            yield Violation("directory_left", str(path), "its worker is dead")
