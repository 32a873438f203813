"""Holds callers to a rate: one token bucket a name, exact over all processes, by Redis' clock.

Models have a gate of their own (orchestrator.llm.gate): it decides on breaker, pause and two rates in one trip.
"""

import math
import threading
import time
from pathlib import Path
from typing import NamedTuple

import redis
import structlog

from orchestrator.connections.redis_client import Standing, open_client
from orchestrator.settings import Rate

_SCRIPT = Path(__file__).with_suffix(".lua").read_text(encoding="utf-8")
_PREFIX = "octollm:rate:"
_PATIENCE_SECONDS = 0.25
_PAUSE_SECONDS = 1.0
_MICRO = 1_000_000
_MAX_LOCAL_BUCKETS = 10_000

log = structlog.get_logger(__name__)


class Allowance(NamedTuple):
    """What a bucket answered: `reset_at` is when it is full again, in seconds since 1970."""

    is_allowed: bool
    limit: int
    remaining: int
    reset_at: int
    retry_after_seconds: int


class Bucket(NamedTuple):
    """What a bucket held at a moment, in seconds of some clock."""

    tokens: float
    moment: float


class RateLimiter:
    """Takes from buckets in Redis; threads share it.

    While Redis is away each process keeps buckets of its own, so that N processes admit at most N times the rate;
    Redis is asked again once a second.
    """

    def __init__(self, redis_url: str) -> None:
        self._redis = open_client(redis_url, patience_seconds=_PATIENCE_SECONDS)
        self._script = self._redis.register_script(_SCRIPT)
        self._standing = Standing(pause_seconds=_PAUSE_SECONDS)
        self._local: dict[str, Bucket] = {}
        self._lock = threading.Lock()

    def take(self, name: str, rate: Rate, *, calls: int = 1) -> Allowance:
        """Take `calls` from the bucket called `name`, or nothing when they are not there; 0 only looks."""
        if self._standing.may_ask():
            try:
                allowance = self._take_shared(name, rate, calls)
            except redis.RedisError as error:
                self._standing.failed()
                log.warning("rate_limit.redis_away", error=type(error).__name__)
            else:
                self._standing.answered()
                return allowance
        return self._take_local(name, rate, calls)

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
        now = time.time()
        with self._lock:
            if len(self._local) >= _MAX_LOCAL_BUCKETS:
                self._local.clear()
            bucket, allowance = draw(self._local.get(name), rate, calls=calls, now=now)
            self._local[name] = bucket
        return allowance


def draw(bucket: Bucket | None, rate: Rate, *, calls: int, now: float) -> tuple[Bucket, Allowance]:
    """Take `calls` from a bucket (None: a full one) at `now`; what rate_limit.lua does, in this process."""
    tokens = float(rate.calls)
    if bucket is not None:
        passed = max(0.0, now - bucket.moment)
        tokens = min(tokens, bucket.tokens + passed * rate.calls / rate.seconds)
    taken = tokens >= calls
    tokens -= calls if taken else 0
    seconds_a_call = rate.seconds / rate.calls
    return Bucket(tokens, now), Allowance(
        taken,
        rate.calls,
        remaining=math.floor(tokens),
        reset_at=math.ceil(now + (rate.calls - tokens) * seconds_a_call),
        retry_after_seconds=0 if taken else max(1, math.ceil((calls - tokens) * seconds_a_call)),
    )
