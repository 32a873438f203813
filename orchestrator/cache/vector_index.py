"""Finds earlier tasks that may be the same one by what their goals mean: signs of embeddings, near each other."""

import time
from collections.abc import Sequence
from typing import Any

from orchestrator.cache.key import family_of
from orchestrator.cache.signed_store import PREFIX, SealedStore
from orchestrator.models.ids import is_task_id
from orchestrator.similarity import signature_of

MAX_NEIGHBOURS = 10
MAX_KNOWN = 1_000
# the share of signs that differ is the angle between two vectors by 180 degrees (Charikar, STOC 2002): 54 degrees
_FARTHEST = 0.3
_ID_BYTES = 21


class NeighbourIndex:
    """The signs of goals in Redis, by family and signature as the postings of words; hints only, as those are."""

    def __init__(self, store: SealedStore, *, ttl_seconds: int) -> None:
        self._store = store
        self._ttl_seconds = ttl_seconds

    def find_and_add(
        self, key: str, goal: str, vector: Sequence[float], task_id: str | None
    ) -> Sequence[str]:
        """Return ids of at most MAX_NEIGHBOURS tasks, the nearest first, and let `task_id`, if given, be found later.

        One round trip. A task may be added before anybody knows whether its result will answer: Postgres decides.
        """
        place = f"{PREFIX}meaning:{family_of(key)}:{self._store.veiled(signature_of(goal))}"
        signs = signs_of(vector)

        def ask(client: Any) -> Any:
            pipe = client.pipeline(transaction=False)
            pipe.zrangebyscore(place, time.time(), "+inf")
            if task_id is not None:
                pipe.zadd(place, {task_id.encode() + signs: time.time() + self._ttl_seconds})
                pipe.zremrangebyrank(place, 0, -MAX_KNOWN - 1)
                pipe.expire(place, self._ttl_seconds)
            return pipe.execute()[0]

        return nearest(signs, self._store.attempt(ask) or ())


def signs_of(vector: Sequence[float]) -> bytes:
    """Return one bit a dimension: whether it is positive."""
    bits = "".join("1" if value > 0 else "0" for value in vector)
    return int(bits or "0", 2).to_bytes((len(bits) + 7) // 8, "big")


def nearest(signs: bytes, members: Sequence[bytes]) -> Sequence[str]:
    """Return the ids among the index's members whose signs are near, the nearest first; what is no member is none."""
    found = []
    for member in members:
        name, other = member[:_ID_BYTES].decode("ascii", "replace"), member[_ID_BYTES:]
        if is_task_id(name) and len(other) == len(signs):
            apart = (int.from_bytes(signs, "big") ^ int.from_bytes(other, "big")).bit_count()
            if apart <= _FARTHEST * 8 * len(signs):
                found.append((apart, name))
    return [name for _, name in sorted(found)[:MAX_NEIGHBOURS]]
