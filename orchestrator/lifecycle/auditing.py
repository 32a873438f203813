"""Sees whether hits of the cache were right: runs some again, hears clients, and switches a wrong layer off."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, Engine

from orchestrator.cache import audit, flight
from orchestrator.cache.audit import Hit, Opinion
from orchestrator.errors import InvalidOperation
from orchestrator.identifier import new_task_id
from orchestrator.settings import Settings
from orchestrator.store import memory
from orchestrator.store.engine import in_transaction, statement
from orchestrator.store.memory import NewTask


@dataclass(frozen=True)
class Withdrawn:
    """What a wrong hit took back: the result of `source_task_id` answers nothing any more.

    `keys` are those of the hit and of what answered it, up to the source; `switched_off`: nor does the layer.
    """

    task_id: str
    layer: str
    source_task_id: str | None
    keys: Sequence[str]
    switched_off: bool


@dataclass(frozen=True)
class Decided:
    """An audit with its outcome, and what it took back if the hit was wrong."""

    layer: str
    opinion: Opinion
    withdrawn: Withdrawn | None


def run_again(engine: Engine, *, settings: Settings, limit: int) -> int:
    """Submit a share of the latest hits again, as tasks of their tenants with low priority; return how many.

    Their planning is due at once: the sweeper publishes it.
    """
    if settings.cache_audit_share == 0:
        return 0
    with statement(engine) as conn:
        hits = audit.sample(conn, share=settings.cache_audit_share, limit=limit)
    return sum(_run_again(engine, hit) for hit in hits)


def decide_ended(engine: Engine, *, limit: int) -> Sequence[Decided]:
    """Compare what was run again with what the hits had; several sweepers take different ones."""

    def decide(conn: Connection) -> Sequence[Decided]:
        decided = []
        for rerun in audit.ended_reruns(conn, limit=limit):
            opinion = audit.compare(rerun)
            audit.decide(conn, rerun.task_id, opinion)
            is_wrong = opinion.agrees is False
            withdrawn = _withdraw(conn, rerun.tenant, rerun.task_id, rerun.layer) if is_wrong else None
            decided.append(Decided(rerun.layer, opinion, withdrawn))
        return decided

    return in_transaction(engine, decide)


def report_wrong_hit(engine: Engine, *, tenant: str, task_id: str, reason: str) -> Withdrawn:
    """Take a client's word that the tenant's task got another one's result; saying it twice is safe.

    The result answers nothing any more. Raises InvalidOperation when no earlier result answered the task.
    """

    def withdraw(conn: Connection) -> Withdrawn:
        layer = audit.report(conn, tenant, task_id, reason=reason)
        if layer is None:
            raise InvalidOperation(f"{task_id} was not answered by an earlier result.")
        return _withdraw(conn, tenant, task_id, layer)

    return in_transaction(engine, withdraw)


def _run_again(engine: Engine, hit: Hit) -> bool:
    def submit(conn: Connection) -> bool:
        rerun = NewTask(new_task_id(), hit.tenant, None, None, audit.rerun_contract(hit))
        memory.submit(conn, rerun, redispatch_seconds=0)
        return audit.open_audit(conn, hit, rerun_task_id=rerun.id)

    return in_transaction(engine, submit)


def _withdraw(conn: Connection, tenant: str, task_id: str, layer: str) -> Withdrawn:
    sources = flight.withdraw(conn, tenant, task_id)
    keys = [source.cache_key for source in sources if source.cache_key]
    switched = _switch_if_needed(conn, tenant, layer)
    return Withdrawn(task_id, layer, sources[-1].id if sources else None, keys, switched)


def _switch_if_needed(conn: Connection, tenant: str, layer: str) -> bool:
    standing = audit.standing_of(conn, tenant, layer)
    if standing.is_too_wrong:
        audit.switch_off(conn, tenant, layer, standing)
    return standing.is_too_wrong
