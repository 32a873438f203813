"""Keeps values in Redis that nobody else can make up or move; there every fault finds nothing."""

import hmac
import json
from collections.abc import Callable
from typing import Any, TypeVar

import redis
import structlog

from orchestrator.auth import credential
from orchestrator.connections.redis_client import Availability, open_client
from orchestrator.settings import Settings

T = TypeVar("T")

PREFIX = "octollm:cache:"
_TIMEOUT_SECONDS = 0.05
_PAUSE_SECONDS = 1.0
_MAC_BYTES = 32
_NAME_DIGITS = 24

log = structlog.get_logger(__name__)


class SealedStore:
    """One process' way to the cache's Redis; threads share it.

    When Redis is away, slow or refuses to write, nothing is found and nothing kept, and it is asked again a second
    later. Every value has a time to live.
    """

    def __init__(self, settings: Settings) -> None:
        self._secret = credential.cache_secret(settings)
        self._redis = open_client(settings.redis_url, timeout_seconds=_TIMEOUT_SECONDS)
        self._availability = Availability(pause_seconds=_PAUSE_SECONDS)

    def get(self, name: str) -> Any | None:
        """Return the value that was put under this name; None for none, a tampered one or another's."""
        sealed: Any = self.attempt(lambda client: client.get(PREFIX + name))
        if sealed is None:
            return None
        mac, text = sealed[:_MAC_BYTES], sealed[_MAC_BYTES:]
        if not hmac.compare_digest(mac, self._mac(name, text)):
            log.warning("cache.entry_refused", reason="seal broken")
            return None
        return json.loads(text)

    def put(self, name: str, value: Any, *, seconds: float) -> None:
        """Keep a JSON value for at most `seconds`."""
        text = json.dumps(value, sort_keys=True).encode()
        sealed = self._mac(name, text) + text
        self.attempt(lambda client: client.set(PREFIX + name, sealed, ex=max(1, round(seconds))))

    def forget(self, name: str) -> None:
        """Drop the value under a name."""
        self.attempt(lambda client: client.unlink(PREFIX + name))

    def veiled(self, text: str) -> str:
        """Return a name for the text that tells nothing of it to those who can read in Redis."""
        return hmac.new(self._secret, b"name\0" + text.encode(), "sha256").hexdigest()[:_NAME_DIGITS]

    def attempt(self, work: Callable[["redis.Redis"], T]) -> T | None:
        """Do `work` with the client; None when Redis is away."""
        return self._availability.attempt(lambda: work(self._redis), event="cache.redis_away")

    def _mac(self, name: str, text: bytes) -> bytes:
        return hmac.new(self._secret, name.encode() + b"\0" + text, "sha256").digest()
