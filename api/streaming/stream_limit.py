"""Limits each tenant's open streams, counted in Redis over all API processes."""

import hashlib
import secrets
import threading
from pathlib import Path
from typing import Any

from orchestrator.connections.redis_client import Availability, open_client
from orchestrator.models.errors import TenantLimit

SLOT_SECONDS = 30
"""How long a slot lasts without renewal: the streams of a killed process count for this long."""

_PREFIX = "octollm:streams:"
_TIMEOUT_SECONDS = 0.25
_PAUSE_SECONDS = 1.0
_RETRY_AFTER_SECONDS = 5
_SCRIPT = Path(__file__).with_suffix(".lua").read_text(encoding="utf-8")


class StreamLimit:
    """Slots for one process's streams; a tenant has at most `max_streams` in all processes together. Thread-safe.

    While Redis is away each process counts only its own streams, so N processes admit at most N times as many.
    """

    def __init__(self, redis_url: str, *, max_streams: int) -> None:
        self._max_streams = max_streams
        self._redis = open_client(redis_url, timeout_seconds=_TIMEOUT_SECONDS)
        self._script = self._redis.register_script(_SCRIPT)
        self._availability = Availability(pause_seconds=_PAUSE_SECONDS)
        self._held: dict[str, str] = {}
        self._lock = threading.Lock()

    def acquire(self, tenant: str) -> str:
        """Take a slot and return its name. Raises TenantLimit if the tenant has none left."""
        slot, key = secrets.token_hex(12), _key(tenant)
        with self._lock:
            is_allowed = sum(held == key for held in self._held.values()) < self._max_streams
            if is_allowed:
                self._held[slot] = key
        if is_allowed and self._run([key], ["acquire", self._max_streams, SLOT_SECONDS, slot]) == 0:
            is_allowed = False
            with self._lock:
                del self._held[slot]
        if not is_allowed:
            raise TenantLimit(
                f"The tenant has {self._max_streams} open streams, the maximum; close one first.",
                details={
                    "setting": "TENANT_MAX_STREAMS",
                    "limit": self._max_streams,
                    "retry_after": _RETRY_AFTER_SECONDS,
                },
            )
        return slot

    def release(self, slot: str) -> None:
        """Free a slot; calling twice is safe."""
        with self._lock:
            key = self._held.pop(slot, None)
        if key is not None:
            self._run([key], ["release", 0, 0, slot])

    def renew(self) -> None:
        """Extend all slots of this process to SLOT_SECONDS from now."""
        slots: dict[str, list[str]] = {}
        with self._lock:
            for slot, key in self._held.items():
                slots.setdefault(key, []).append(slot)
        for key, held in slots.items():
            self._run([key], ["renew", 0, SLOT_SECONDS, *held])

    def _run(self, keys: list[str], arguments: list[Any]) -> int | None:
        """Run the script; return None while Redis is away."""
        return self._availability.attempt(
            lambda: int(self._script(keys=keys, args=arguments)), event="stream_limit.redis_away"
        )


def _key(tenant: str) -> str:
    digest = hashlib.blake2b(tenant.encode("utf-8", "surrogatepass"), digest_size=16)
    return _PREFIX + digest.hexdigest()
