"""Opens connections to Redis with bounded waits, describes its errors, and records when it is away."""

import threading
import time
from collections.abc import Callable
from typing import Final, TypeVar

import redis
import structlog
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, BusyLoadingError, RedisError
from redis.retry import Retry

T = TypeVar("T")

log = structlog.get_logger(__name__)

TIMEOUT_SECONDS: Final = 2.0
"""How long a call waits for an answer by default."""
_SUBSCRIBER_SECONDS: Final = 5.0
_PROBE_SECONDS: Final = 10
_PROBE_KEY: Final = "octollm:probe"
_PROBE_MILLISECONDS: Final = 1000
_REFUSALS: Final = (
    ("READONLY", "it is read-only: a replica, or a failover is under way"),
    ("MISCONF", "it can't save to its disk, so it takes no writes"),
    ("OOM", "its memory is full (maxmemory)"),
    ("NOREPLICAS", "it has too few replicas to take writes"),
    ("MASTERDOWN", "its link to its master is down"),
    ("NOPERM", "our user may not write there (ACL)"),
    ("NOAUTH", "it requires a password"),
    ("WRONGPASS", "it does not accept our password"),
)


def open_client(url: str, *, timeout_seconds: float = TIMEOUT_SECONDS) -> "redis.Redis":
    """Return a client that threads may share; no call waits longer than `timeout_seconds`, twice that if it connects.

    It does not retry: redis-py's default would retry for up to a minute, and callers have their own way to go on.
    """
    return redis.Redis.from_url(
        url,
        socket_timeout=timeout_seconds,
        socket_connect_timeout=timeout_seconds,
        retry=Retry(NoBackoff(), 0),
    )


def open_subscriber(url: str) -> "redis.Redis":
    """Return a client for subscriptions; read it by `get_message` with a timeout.

    It does not retry: redis-py would subscribe again without the caller's notice, and take seconds.
    """
    return redis.Redis.from_url(
        url,
        socket_timeout=_SUBSCRIBER_SECONDS,
        socket_connect_timeout=_SUBSCRIBER_SECONDS,
        socket_keepalive=True,
        health_check_interval=_PROBE_SECONDS,
        retry=Retry(NoBackoff(), 0),
    )


def try_write(client: "redis.Redis") -> None:
    """Write a key that expires after a second; raises RedisError if Redis is away or takes no writes."""
    client.set(_PROBE_KEY, "1", px=_PROBE_MILLISECONDS)


def fault_of(error: RedisError) -> str:
    """Describe a Redis error for operators, without the server's own text."""
    if isinstance(error, BusyLoadingError):
        return "it is loading its data"
    text = str(error)
    for word, fault in _REFUSALS:
        # redis-py removes the word from the text of errors that have their own class
        if word in text or type(error).__name__ in _CLASSES_OF.get(word, ()):
            return fault
    if isinstance(error, AuthenticationError):
        return "it does not accept our user or password"
    if isinstance(error, redis.TimeoutError):
        return "it does not answer"
    if isinstance(error, redis.ConnectionError):
        return "it can't be reached"
    return "it refuses our command"


_CLASSES_OF: Final = {
    "READONLY": ("ReadOnlyError",),
    "OOM": ("OutOfMemoryError",),
    "NOPERM": ("NoPermissionError",),
}


class Availability:
    """Records that a server did not answer, so that not every call waits to find that out; threads share it.

    After a failure one call in `pause_seconds` tries the server again.
    """

    def __init__(self, *, pause_seconds: float) -> None:
        self._pause_seconds = pause_seconds
        self._away_until = 0.0
        self._lock = threading.Lock()

    def may_try(self) -> bool:
        """Return whether to ask the server now; of all callers after a failure, one in `pause_seconds` may."""
        if not self._away_until:
            return True
        with self._lock:
            now = time.monotonic()
            if now < self._away_until:
                return False
            if self._away_until:
                self._away_until = now + self._pause_seconds
        return True

    def record_failure(self) -> None:
        """Record that the server did not answer."""
        self._away_until = time.monotonic() + self._pause_seconds

    def record_success(self) -> None:
        """Record that the server answered."""
        self._away_until = 0.0

    def attempt(self, work: Callable[[], T], *, event: str) -> T | None:
        """Call `work` and return its result; None while Redis is away, which is logged as `event` when it fails."""
        if not self.may_try():
            return None
        try:
            found = work()
        except RedisError as error:
            self.record_failure()
            log.warning(event, error=type(error).__name__)
            return None
        self.record_success()
        return found
