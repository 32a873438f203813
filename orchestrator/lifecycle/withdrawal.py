"""Withdraws a cached result that a client reports as wrong; two reports switch the cache layer off for the tenant."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from sqlalchemy import Connection, Engine

from orchestrator.cache import coalescing, feedback
from orchestrator.cache.exact import ResultCache
from orchestrator.cache.semantic import DIFFERENT_SECONDS, FEEDBACK, EquivalenceMemo, EquivalenceVerdict
from orchestrator.chord.database import in_transaction
from orchestrator.models.errors import InvalidOperation


@dataclass(frozen=True)
class WithdrawnHit:
    """A wrong hit: the result of `source_task_id` answers no task any more.

    `keys` are the cache keys of the hit and of the chain of tasks that answered it, back to the source.
    `switched_off`: the layer was disabled, too.
    """

    task_id: str
    layer: str
    source_task_id: str | None
    keys: Sequence[str]
    switched_off: bool


def report_wrong_hit(engine: Engine, *, tenant: str, task_id: str, reason: str) -> WithdrawnHit:
    """Withdraw the result that answered the tenant's task; calling it twice is safe.

    Raises InvalidOperation when no earlier result answered the task. Call `forget` after it.
    """

    def withdraw(conn: Connection) -> WithdrawnHit:
        layer = feedback.record_wrong_hit(conn, tenant, task_id, reason=reason)
        if layer is None:
            raise InvalidOperation(f"{task_id} was not answered by an earlier result.")
        sources = coalescing.withdraw(conn, tenant, task_id)
        keys = [source.cache_key for source in sources if source.cache_key]
        switched = feedback.switch_off_if_reported_often(conn, tenant, layer)
        return WithdrawnHit(task_id, layer, sources[-1].id if sources else None, keys, switched)

    return in_transaction(engine, withdraw)


def forget(cache: ResultCache, withdrawn: WithdrawnHit) -> None:
    """Delete a wrong hit from Redis, and record as different the tasks that a judge had found to be the same."""
    for key in withdrawn.keys:
        cache.forget(key)
    different = EquivalenceVerdict(False, FEEDBACK, withdrawn.task_id)
    for one, other in pairwise(withdrawn.keys):
        if one != other:
            EquivalenceMemo(cache.store).put(one, other, different, seconds=DIFFERENT_SECONDS)
