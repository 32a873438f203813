"""Finds earlier results by key: sealed pointers in Redis, where every fault is a miss."""

import hmac
import json
import random
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import redis
import structlog
from redis.backoff import NoBackoff
from redis.retry import Retry

from orchestrator import credential
from orchestrator.cache.key import key_of, parts_of, world_digest
from orchestrator.settings import Settings
from orchestrator.task_contract import Contract

_PREFIX = "octollm:cache:entry:"
_PATIENCE_SECONDS = 0.05
_PAUSE_SECONDS = 1.0
_JITTER = 0.1

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Entry:
    """Where the result for a key is: `source_id` is the task that made it, under `source_key`.

    `layer` is exact when the two keys are one, alias when a judge found the two tasks to be the same.
    """

    parts: Mapping[str, str]
    source_id: str
    source_key: str
    layer: str = "exact"


class ResultCache:
    """One process' view of the shared cache; threads share it.

    An entry only points to a task in Postgres, which decides whether it may answer. When Redis is away, slow or
    refuses to write, all is a miss, and it is asked again a second later.
    """

    def __init__(self, settings: Settings) -> None:
        self.ttl_seconds = settings.cache_ttl
        self._world = world_digest(settings)
        self._secret = credential.cache_secret(settings)
        self._redis = redis.Redis.from_url(
            settings.redis_url,
            socket_timeout=_PATIENCE_SECONDS,
            socket_connect_timeout=_PATIENCE_SECONDS,
            retry=Retry(NoBackoff(), 0),
        )
        self._away_until = 0.0

    def parts_of(self, contract: Contract, *, tenant: str, scopes: frozenset[str]) -> dict[str, str]:
        """Return what the task's key is made of; see orchestrator.cache.key."""
        return parts_of(contract, tenant=tenant, scopes=scopes, world=self._world)

    def find(self, parts: Mapping[str, str]) -> Entry | None:
        """Return the entry for these parts, in one round trip; None for none, a broken one or another's."""
        key = key_of(parts)
        sealed = self._call("get", _PREFIX + key)
        entry = self._unseal(key, sealed) if sealed is not None else None
        if entry is not None and dict(entry.parts) != dict(parts):
            log.warning("cache.entry_refused", reason="parts differ")
            return None
        return entry

    def put(self, entry: Entry, *, seconds: float) -> None:
        """Keep an entry for at most `seconds`: a little less, so that not all end at once."""
        key = key_of(entry.parts)
        lasting = max(1, round(seconds * random.uniform(1 - _JITTER, 1)))
        self._call("set", _PREFIX + key, self._seal(key, entry), ex=lasting)

    def forget(self, key: str) -> None:
        """Drop the entry under a key."""
        self._call("unlink", _PREFIX + key)

    def _call(self, command: str, *args: Any, **options: Any) -> Any:
        if time.monotonic() < self._away_until:
            return None
        try:
            return getattr(self._redis, command)(*args, **options)
        except redis.RedisError as error:
            self._away_until = time.monotonic() + _PAUSE_SECONDS
            log.warning("cache.redis_away", error=type(error).__name__)
            return None

    def _seal(self, key: str, entry: Entry) -> bytes:
        text = json.dumps(asdict(entry), sort_keys=True).encode()
        return self._mac(key, text) + text

    def _unseal(self, key: str, sealed: Any) -> Entry | None:
        mac, text = sealed[:32], sealed[32:]
        if not hmac.compare_digest(mac, self._mac(key, text)):
            log.warning("cache.entry_refused", reason="seal broken")
            return None
        return Entry(**json.loads(text))

    def _mac(self, key: str, text: bytes) -> bytes:
        return hmac.new(self._secret, key.encode() + b"\0" + text, "sha256").digest()
