"""Owns the semantic cache: finds tasks with similar goals, refuses unsafe pairs, and stores verdicts on pairs.

Similar goals are found by shared words or by embedding. Similarity only proposes candidates: the guard refuses what is
known to differ, and a judge's verdict decides about the rest. Everything here is a hint in Redis; Postgres decides
whether a candidate's result may be served.
"""

import hashlib
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Connection

from orchestrator.cache.exact import family_of
from orchestrator.cache.signed_store import PREFIX, SignedStore
from orchestrator.chord import sql
from orchestrator.models.ids import is_task_id
from orchestrator.safety import scan
from orchestrator.similarity import known_difference, signature_of, words_of

MAX_CANDIDATES = 5
MAX_POSTING = 1_000
"""How many tasks one posting list holds; those whose results expire last stay."""
MAX_NEIGHBORS = 10
MAX_VECTORS = 1_000
DIFFERENT_SECONDS = 7 * 24 * 3600.0
"""How long the verdict that two tasks differ is stored."""
FEEDBACK = "feedback"
"""Stands in place of a prompt in a verdict that a client's feedback gave."""

_RAREST_POSTINGS = 5
_MAX_WORDS = 48
_MIN_SHARED_WORDS = 1 / 3
# the share of sign bits that differ is the angle between two vectors / 180 degrees (Charikar, STOC 2002): 54 degrees
_MAX_DIFFERING_BITS = 0.3
_ID_BYTES = 21

_SQL = sql.load(__file__)
_FIND_BY_WORDS = Path(__file__).with_suffix(".lua").read_text("utf-8")


@dataclass(frozen=True)
class SimilarTask:
    """A task with a similar goal whose result may be served for `left_seconds`, if it is judged equivalent."""

    task_id: str
    cache_key: str
    goal: str
    left_seconds: float


class SimilarTaskIndex:
    """Redis index of tasks by the words and the embeddings of their goals.

    Every list holds tasks of one family (equal in all but their goals) whose goals have the same signature: the same
    numbers, quotes, code, identifiers and symbols.
    """

    def __init__(self, store: SignedStore, *, ttl_seconds: int) -> None:
        self._store = store
        self._ttl_seconds = ttl_seconds

    def add(self, key: str, goal: str, task_id: str, *, seconds: float) -> None:
        """Index a task by its goal's words for `seconds`; `key` is its cache key."""
        postings = self._postings(key, goal)
        expires_at = time.time() + seconds

        def index(client: Any) -> None:
            pipe = client.pipeline(transaction=False)
            for posting in postings:
                pipe.zadd(posting, {task_id: expires_at})
                pipe.zremrangebyrank(posting, 0, -MAX_POSTING - 1)
                pipe.expire(posting, self._ttl_seconds)
            pipe.execute()

        if postings:
            self._store.run(index)

    def find_by_words(self, key: str, goal: str) -> Sequence[str]:
        """Return ids of at most MAX_CANDIDATES tasks, the most similar first, in one round trip."""
        postings = self._postings(key, goal)
        if not postings:
            return ()
        arguments: list[Any] = [*postings, time.time(), _RAREST_POSTINGS, MAX_CANDIDATES]
        found = self._store.run(lambda client: client.eval(_FIND_BY_WORDS, len(postings), *arguments))
        names = (name.decode("utf-8", "replace") for name in found or ())
        return [name for name in names if is_task_id(name)]

    def find_by_vector(
        self, key: str, goal: str, vector: Sequence[float], *, add_task_id: str | None
    ) -> Sequence[str]:
        """Return ids of at most MAX_NEIGHBORS tasks, the nearest first, and index `add_task_id` under the vector.

        One round trip. A task may be indexed before its result exists: Postgres decides what may be served.
        """
        place = f"{PREFIX}meaning:{family_of(key)}:{self._store.keyed_digest(signature_of(goal))}"
        signs = sign_bits(vector)

        def ask(client: Any) -> Any:
            pipe = client.pipeline(transaction=False)
            pipe.zrangebyscore(place, time.time(), "+inf")
            if add_task_id is not None:
                pipe.zadd(place, {add_task_id.encode() + signs: time.time() + self._ttl_seconds})
                pipe.zremrangebyrank(place, 0, -MAX_VECTORS - 1)
                pipe.expire(place, self._ttl_seconds)
            return pipe.execute()[0]

        return nearest(signs, self._store.run(ask) or ())

    def _postings(self, key: str, goal: str) -> list[str]:
        place, signature = f"{PREFIX}word:{family_of(key)}:", signature_of(goal)
        words = sorted(words_of(goal), key=len, reverse=True)[:_MAX_WORDS]
        return [place + self._store.keyed_digest(f"{signature}:{word}") for word in words]


def sign_bits(vector: Sequence[float]) -> bytes:
    """Return one bit per dimension: 1 if the value is positive."""
    bits = "".join("1" if value > 0 else "0" for value in vector)
    return int(bits or "0", 2).to_bytes((len(bits) + 7) // 8, "big")


def nearest(signs: bytes, members: Sequence[bytes]) -> Sequence[str]:
    """Return the ids of index members with similar sign bits, the nearest first. Malformed members are skipped."""
    found = []
    for member in members:
        name, other = member[:_ID_BYTES].decode("ascii", "replace"), member[_ID_BYTES:]
        if is_task_id(name) and len(other) == len(signs):
            distance = (int.from_bytes(signs, "big") ^ int.from_bytes(other, "big")).bit_count()
            if distance <= _MAX_DIFFERING_BITS * 8 * len(signs):
                found.append((distance, name))
    return [name for _, name in sorted(found)[:MAX_NEIGHBORS]]


def read_similar(
    conn: Connection, tenant: str, ids: Sequence[str], *, key: str, max_age: float | None
) -> list[SimilarTask]:
    """Return the tasks, in the order of `ids`, that belong to the tenant and the key's family and may be served now.

    Tasks under `key` itself are left out. `max_age` is in seconds; None sets no limit.
    """
    rows = conn.exec_driver_sql(_SQL["read"], {"tenant": tenant, "ids": list(ids), "max_age": max_age})
    return [
        task
        for task in (SimilarTask(*row) for row in rows)
        if family_of(task.cache_key) == family_of(key) and task.cache_key != key
    ]


def shares_words(goal: str, other: str) -> bool:
    """Return whether two goals share a third of their words; a goal that asks for much more is another task."""
    here, there = words_of(goal), words_of(other)
    return len(here & there) >= _MIN_SHARED_WORDS * max(len(here), len(there), 1)


def guard(goal: str, other: str) -> str | None:
    """Return why no judge may be asked about two goals: a known difference, or "injection"; None if one may.

    A goal with a prompt injection could make the judge approve the pair, and so get another task's result.
    """
    difference = known_difference(goal, other)
    if difference is not None:
        return difference.value
    is_injected = any(finding.kind == "injection" for text in (goal, other) for finding in scan(text))
    return "injection" if is_injected else None


@dataclass(frozen=True)
class EquivalenceVerdict:
    """Whether one result serves two tasks. `prompt` is name@version of the judge's prompt, `judged_for` the task id.

    The judge's reason may quote the goals, so it is stored in the task's trace only, never in Redis.
    """

    is_same: bool
    prompt: str
    judged_for: str


class EquivalenceMemo:
    """Signed verdicts in Redis by the cache keys of two tasks, in either order."""

    def __init__(self, store: SignedStore) -> None:
        self._store = store

    def find(self, one: str, other: str) -> EquivalenceVerdict | None:
        """Return the stored verdict on two cache keys."""
        found = self._store.get(_pair_name(one, other))
        return EquivalenceVerdict(**found) if found is not None else None

    def put(self, one: str, other: str, verdict: EquivalenceVerdict, *, seconds: float) -> None:
        """Store a verdict for at most `seconds`; replaces an earlier one."""
        self._store.put(_pair_name(one, other), asdict(verdict), seconds=seconds)


def _pair_name(one: str, other: str) -> str:
    pair = "\0".join(sorted((one, other)))
    return "pair:" + hashlib.blake2b(pair.encode(), digest_size=16).hexdigest()
