"""Counts each tenant's open streams, those of all processes together, and lets no tenant have more than it may."""

import hashlib
import secrets
import threading
from pathlib import Path
from typing import Any

from orchestrator.connections.redis_client import Availability, open_client
from orchestrator.models.errors import TenantLimit

HELD_SECONDS = 30
"""How long a place is held without being renewed: the streams of a process that was killed count for so long."""

_PREFIX = "octollm:streams:"
_TIMEOUT_SECONDS = 0.25
_PAUSE_SECONDS = 1.0
_RETRY_AFTER_SECONDS = 5
_SCRIPT = Path(__file__).with_suffix(".lua").read_text(encoding="utf-8")


class StreamPlaces:
    """The places of one process' streams, at most `most` of each tenant in all processes; threads share it.

    While Redis is away each process counts its own streams only, so N processes admit at most N times as many.
    """

    def __init__(self, redis_url: str, *, most: int) -> None:
        self._most = most
        self._redis = open_client(redis_url, timeout_seconds=_TIMEOUT_SECONDS)
        self._script = self._redis.register_script(_SCRIPT)
        self._availability = Availability(pause_seconds=_PAUSE_SECONDS)
        self._held: dict[str, str] = {}
        self._lock = threading.Lock()

    def take(self, tenant: str) -> str:
        """Take a place and return its name; raise TenantLimit when the tenant has no more."""
        place, key = secrets.token_hex(12), _key(tenant)
        with self._lock:
            is_allowed = sum(held == key for held in self._held.values()) < self._most
            if is_allowed:
                self._held[place] = key
        if is_allowed and self._ask([key], ["take", self._most, HELD_SECONDS, place]) == 0:
            is_allowed = False
            with self._lock:
                del self._held[place]
        if not is_allowed:
            raise TenantLimit(
                f"The tenant has {self._most} open streams, as many as it may have; close one first.",
                details={
                    "setting": "TENANT_MAX_STREAMS",
                    "limit": self._most,
                    "retry_after": _RETRY_AFTER_SECONDS,
                },
            )
        return place

    def give_back(self, place: str) -> None:
        """Give a place back; calling twice is safe."""
        with self._lock:
            key = self._held.pop(place, None)
        if key is not None:
            self._ask([key], ["leave", 0, 0, place])

    def renew(self) -> None:
        """Hold all places of this process for another HELD_SECONDS."""
        places: dict[str, list[str]] = {}
        with self._lock:
            for place, key in self._held.items():
                places.setdefault(key, []).append(place)
        for key, held in places.items():
            self._ask([key], ["renew", 0, HELD_SECONDS, *held])

    def _ask(self, keys: list[str], arguments: list[Any]) -> int | None:
        """Run the script; None while Redis is away."""
        return self._availability.attempt(
            lambda: int(self._script(keys=keys, args=arguments)), event="places.redis_away"
        )


def _key(tenant: str) -> str:
    digest = hashlib.blake2b(tenant.encode("utf-8", "surrogatepass"), digest_size=16)
    return _PREFIX + digest.hexdigest()
