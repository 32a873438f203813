"""Limits callers to a rate: one token bucket a name, shared by all processes, by Redis' clock.

While Redis is away each process counts in fixed windows of the rate's length instead, so N processes admit at most N
times the rate; Redis is tried again once a second. Models have a gate of their own (orchestrator.llm.gate).
"""

import math
import threading
import time
from pathlib import Path
from typing import NamedTuple

from orchestrator.connections.redis_client import Availability, open_client
from orchestrator.process.fixed_window import FixedWindow
from orchestrator.settings_text import Rate

_SCRIPT = Path(__file__).with_suffix(".lua").read_text(encoding="utf-8")
_PREFIX = "octollm:rate:"
_TIMEOUT_SECONDS = 0.25
_PAUSE_SECONDS = 1.0
_MICRO = 1_000_000
_MAX_WINDOWS = 10_000


class Allowance(NamedTuple):
    """The answer to one call; `reset_at` is when the whole limit is available again, in seconds since 1970."""

    is_allowed: bool
    limit: int
    remaining: int
    reset_at: int
    retry_after_seconds: int


class RateLimiter:
    """Takes from token buckets in Redis, or from windows of this process while Redis is away; threads share it."""

    def __init__(self, redis_url: str) -> None:
        self._redis = open_client(redis_url, timeout_seconds=_TIMEOUT_SECONDS)
        self._script = self._redis.register_script(_SCRIPT)
        self._availability = Availability(pause_seconds=_PAUSE_SECONDS)
        self._windows: dict[str, FixedWindow] = {}
        self._lock = threading.Lock()

    def take(self, name: str, rate: Rate, *, calls: int = 1) -> Allowance:
        """Take `calls` from the limit called `name`, or nothing when fewer are left; 0 takes nothing and reports."""
        shared = self._availability.attempt(
            lambda: self._take_shared(name, rate, calls), event="rate_limit.redis_away"
        )
        return shared or self._take_local(name, rate, calls)

    def _take_shared(self, name: str, rate: Rate, calls: int) -> Allowance:
        answer: list[int] = self._script(
            keys=[_PREFIX + name], args=[rate.calls, rate.seconds * _MICRO, calls]
        )
        taken, left, full_in, wait, now = answer
        return Allowance(
            bool(taken),
            rate.calls,
            remaining=left,
            reset_at=math.ceil((now + full_in) / _MICRO),
            retry_after_seconds=math.ceil(wait / _MICRO),
        )

    def _take_local(self, name: str, rate: Rate, calls: int) -> Allowance:
        now = time.monotonic()
        with self._lock:
            if name not in self._windows and len(self._windows) >= _MAX_WINDOWS:
                self._windows.clear()
            window = self._windows.setdefault(name, FixedWindow(rate.seconds))
            is_allowed = window.take(calls, limit=rate.calls, now=now)
            used, seconds_left = window.used, window.seconds_left(now)
        return Allowance(
            is_allowed,
            rate.calls,
            remaining=rate.calls - math.ceil(used),
            reset_at=math.ceil(time.time() + seconds_left),
            retry_after_seconds=0 if is_allowed else max(1, math.ceil(seconds_left)),
        )
