"""Finds earlier results by key: sealed pointers in Redis, where every fault is a miss."""

import random
from collections.abc import Mapping
from dataclasses import asdict, dataclass

import structlog

from orchestrator.cache.key import key_of, parts_of, world_digest
from orchestrator.cache.signed_store import SealedStore
from orchestrator.models.task_contract import Contract
from orchestrator.settings import Settings

_PREFIX = "entry:"
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

    An entry only points to a task in Postgres, which decides whether it may answer. `store` is where the cache's other
    layers keep what they know; `world` is `world_digest`.
    """

    def __init__(self, settings: Settings) -> None:
        self.ttl_seconds = settings.cache_ttl
        self.world = world_digest(settings)
        self.store = SealedStore(settings)

    def parts_of(self, contract: Contract, *, tenant: str, scopes: frozenset[str]) -> dict[str, str]:
        """Return what the task's key is made of; see orchestrator.cache.key."""
        return parts_of(contract, tenant=tenant, scopes=scopes, world=self.world)

    def find(self, parts: Mapping[str, str]) -> Entry | None:
        """Return the entry for these parts, in one round trip; None for none, a broken one or another's."""
        found = self.store.get(_PREFIX + key_of(parts))
        entry = Entry(**found) if found is not None else None
        if entry is not None and dict(entry.parts) != dict(parts):
            log.warning("cache.entry_refused", reason="parts differ")
            return None
        return entry

    def put(self, entry: Entry, *, seconds: float) -> None:
        """Keep an entry for at most `seconds`: a little less, so that not all end at once."""
        name = _PREFIX + key_of(entry.parts)
        self.store.put(name, asdict(entry), seconds=seconds * random.uniform(1 - _JITTER, 1))

    def forget(self, key: str) -> None:
        """Drop the entry under a key."""
        self.store.forget(_PREFIX + key)
