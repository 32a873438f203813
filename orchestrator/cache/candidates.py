"""Finds earlier tasks that may be the same one in other words: they share words, and what they say to the letter."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Connection

from orchestrator.cache.key import family_of
from orchestrator.cache.signed_store import PREFIX, SealedStore
from orchestrator.chord import sql
from orchestrator.models.ids import is_task_id
from orchestrator.similarity import signature_of, words_of

MAX_CANDIDATES = 5
MAX_POSTING = 1_000
_RAREST = 5
_MAX_WORDS = 48
_LEAST_SHARED = 1 / 3

_SQL = sql.load(__file__)
_FIND = Path(__file__).with_suffix(".lua").read_text("utf-8")


@dataclass(frozen=True)
class Candidate:
    """A task whose result may answer now, if a judge finds it to be the same task."""

    task_id: str
    cache_key: str
    goal: str
    left_seconds: float


class CandidateIndex:
    """The postings, in Redis: hints only, Postgres says what the tasks are.

    A posting lists the tasks of one family (all equal but for their goals) whose goals have the same numbers, quotes
    and identifiers, and this word. It holds at most MAX_POSTING of them, those that answer longest.
    """

    def __init__(self, store: SealedStore, *, ttl_seconds: int) -> None:
        self._store = store
        self._ttl_seconds = ttl_seconds

    def add(self, key: str, goal: str, task_id: str, *, seconds: float) -> None:
        """Let the task be found by its words for `seconds`; `key` is its cache key."""
        postings = self._postings(key, goal)
        until = time.time() + seconds

        def index(client: Any) -> None:
            pipe = client.pipeline(transaction=False)
            for posting in postings:
                pipe.zadd(posting, {task_id: until})
                pipe.zremrangebyrank(posting, 0, -MAX_POSTING - 1)
                pipe.expire(posting, self._ttl_seconds)
            pipe.execute()

        if postings:
            self._store.attempt(index)

    def find(self, key: str, goal: str) -> Sequence[str]:
        """Return ids of at most MAX_CANDIDATES tasks, the likeliest first, in one round trip."""
        postings = self._postings(key, goal)
        if not postings:
            return ()
        arguments: list[Any] = [*postings, time.time(), _RAREST, MAX_CANDIDATES]
        found = self._store.attempt(lambda client: client.eval(_FIND, len(postings), *arguments))
        names = (name.decode("utf-8", "replace") for name in found or ())
        return [name for name in names if is_task_id(name)]

    def _postings(self, key: str, goal: str) -> list[str]:
        place, signature = f"{PREFIX}word:{family_of(key)}:", signature_of(goal)
        words = sorted(words_of(goal), key=len, reverse=True)[:_MAX_WORDS]
        return [place + self._store.veiled(f"{signature}:{word}") for word in words]


def read(
    conn: Connection, tenant: str, ids: Sequence[str], *, key: str, max_age: float | None
) -> list[Candidate]:
    """Return those of the tasks, in their order, that are the tenant's and of the key's family and may answer now.

    The key's own are left out.
    """
    rows = conn.exec_driver_sql(_SQL["read"], {"tenant": tenant, "ids": list(ids), "max_age": max_age})
    return [
        candidate
        for candidate in (Candidate(*row) for row in rows)
        if family_of(candidate.cache_key) == family_of(key) and candidate.cache_key != key
    ]


def is_near(goal: str, other: str) -> bool:
    """Tell whether two goals share a good part of their words: one that says much more is another task."""
    here, there = words_of(goal), words_of(other)
    return len(here & there) >= _LEAST_SHARED * max(len(here), len(there), 1)
