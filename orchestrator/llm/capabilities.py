"""What the models' servers support: as the operator stated it, and as it was learned from their answers."""

import json
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from orchestrator.connections.redis_client import Availability

if TYPE_CHECKING:
    import redis

LEARNED_SECONDS = 86_400
"""How long something learned is kept in Redis: servers are upgraded, and are then tried again."""

_REREAD_SECONDS = 60.0
_RETRY_REDIS_SECONDS = 1.0
_YES, _NO = "yes", "no"

Facts = Mapping[str, str]


def model_key(name: str, model: str, *, url: str) -> str:
    """Return a key that differs for the same model at another address; hashed, as the address may be secret."""
    return f"{name}:{model}@{sha256(url.encode()).hexdigest()[:12]}"


class LearnedFacts:
    """Facts about models by `model_key`: kept in this process, and in Redis for all processes. Thread-safe.

    Without a client, or while Redis is away, the process knows what it learned itself.
    """

    def __init__(self, client: "redis.Redis | None" = None) -> None:
        self._client = client
        self._availability = Availability(pause_seconds=_RETRY_REDIS_SECONDS)
        self._known: dict[str, tuple[dict[str, str], float]] = {}
        self._lock = threading.Lock()

    def of(self, key: str) -> Facts:
        """Return the facts about a model; they are read from Redis again after a minute."""
        with self._lock:
            facts, read_at = self._known.get(key, ({}, float("-inf")))
        if self._client is None or time.monotonic() - read_at < _REREAD_SECONDS:
            return facts
        client = self._client
        stored = self._availability.attempt(
            lambda: client.get(_redis_key(key)) or b"{}", event="capabilities.redis_away"
        )
        if stored is not None:
            facts = _decoded(stored)
        with self._lock:
            self._known[key] = (facts, time.monotonic())
        return facts

    def learn(self, key: str, facts: Facts) -> None:
        """Add facts about a model."""
        known = self.of(key)
        if known.items() >= facts.items():
            return
        together, client = {**known, **facts}, self._client
        with self._lock:
            self._known[key] = (together, time.monotonic())
        if client is not None:
            self._availability.attempt(
                lambda: client.set(_redis_key(key), json.dumps(together), ex=LEARNED_SECONDS),
                event="capabilities.redis_away",
            )

    def forget(self, key: str) -> None:
        """Forget all facts about a model; other processes still know them for at most a minute."""
        client = self._client
        with self._lock:
            self._known.pop(key, None)
        if client is not None:
            self._availability.attempt(
                lambda: client.delete(_redis_key(key)), event="capabilities.redis_away"
            )


@dataclass(frozen=True)
class ModelCapabilities:
    """What one model's server supports; what was learned takes precedence over what the operator `stated`."""

    key: str
    stated: Mapping[str, bool] = field(default_factory=dict)
    learned: LearnedFacts = field(default_factory=LearnedFacts)

    def has(self, name: str, *, default: bool = True) -> bool:
        """Tell whether the server supports something; `default` is for what nobody stated or learned."""
        word = self.learned.of(self.key).get(name)
        return self.stated.get(name, default) if word is None else word == _YES

    def learn(self, name: str, *, is_supported: bool) -> None:
        """Remember whether the server supports something."""
        self.learned.learn(self.key, {name: _YES if is_supported else _NO})


def _decoded(stored: Any) -> dict[str, str]:
    """Return the facts in a value of Redis; none if it has another form."""
    try:
        facts = json.loads(stored)
    except ValueError:
        return {}
    return {name: str(value) for name, value in facts.items()} if isinstance(facts, dict) else {}


def _redis_key(key: str) -> str:
    return f"octollm:llm:{{{key}}}:learned"
