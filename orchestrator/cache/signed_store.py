"""Stores values in Redis signed with an HMAC, so that forged or moved values read as absent. Every fault is a miss."""

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
_DIGEST_DIGITS = 24

log = structlog.get_logger(__name__)


class SignedStore:
    """One process' access to the cache's Redis. Thread-safe.

    While Redis is unreachable, slower than 50 ms or refuses writes, reads find nothing, writes are dropped, and the
    next attempt is made a second later. Every value has a time to live.
    """

    def __init__(self, settings: Settings) -> None:
        self._secret = credential.cache_secret(settings)
        self._redis = open_client(settings.redis_url, timeout_seconds=_TIMEOUT_SECONDS)
        self._availability = Availability(pause_seconds=_PAUSE_SECONDS)

    def get(self, name: str) -> Any | None:
        """Return the value stored under this name; None if it is absent or its signature is wrong."""
        signed: Any = self.run(lambda client: client.get(PREFIX + name))
        if signed is None:
            return None
        mac, text = signed[:_MAC_BYTES], signed[_MAC_BYTES:]
        if not hmac.compare_digest(mac, self._mac(name, text)):
            log.warning("cache.entry_refused", reason="wrong signature")
            return None
        return json.loads(text)

    def put(self, name: str, value: Any, *, seconds: float) -> None:
        """Store a JSON value for at most `seconds`."""
        text = json.dumps(value, sort_keys=True).encode()
        signed = self._mac(name, text) + text
        self.run(lambda client: client.set(PREFIX + name, signed, ex=max(1, round(seconds))))

    def forget(self, name: str) -> None:
        """Delete the value under a name."""
        self.run(lambda client: client.unlink(PREFIX + name))

    def keyed_digest(self, text: str) -> str:
        """Return an HMAC of the text for use in key names: a reader of Redis cannot recover the text."""
        return hmac.new(self._secret, b"name\0" + text.encode(), "sha256").hexdigest()[:_DIGEST_DIGITS]

    def run(self, command: Callable[["redis.Redis"], T]) -> T | None:
        """Call `command` with the client; return None while Redis is unreachable."""
        return self._availability.attempt(lambda: command(self._redis), event="cache.redis_away")

    def _mac(self, name: str, text: bytes) -> bytes:
        return hmac.new(self._secret, name.encode() + b"\0" + text, "sha256").digest()
