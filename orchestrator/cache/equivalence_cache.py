"""Remembers what a judge said of two tasks: whether one result would do for both."""

import hashlib
from dataclasses import asdict, dataclass

from orchestrator.cache.signed_store import SealedStore

DIFFERENT_SECONDS = 7 * 24 * 3600.0
"""How long it is remembered that two tasks differ."""


@dataclass(frozen=True)
class PairVerdict:
    """A word on two tasks: `prompt` is name@version of what the judge was asked, `judged_for` the task that asked.

    The reason stands in that task's trace only: it may repeat what the goals say, and Redis is no place for that.
    """

    is_same: bool
    prompt: str
    judged_for: str


FEEDBACK = "feedback"
"""In place of a prompt: a client said it."""


class PairVerdicts:
    """The verdicts by the two tasks' cache keys, in whatever order; sealed, in Redis."""

    def __init__(self, store: SealedStore) -> None:
        self._store = store

    def find(self, one: str, other: str) -> PairVerdict | None:
        """Return what is known of two cache keys."""
        found = self._store.get(_name(one, other))
        return PairVerdict(**found) if found is not None else None

    def put(self, one: str, other: str, verdict: PairVerdict, *, seconds: float) -> None:
        """Remember a verdict for at most `seconds`, in place of an earlier one."""
        self._store.put(_name(one, other), asdict(verdict), seconds=seconds)


def _name(one: str, other: str) -> str:
    pair = "\0".join(sorted((one, other)))
    return "pair:" + hashlib.blake2b(pair.encode(), digest_size=16).hexdigest()
