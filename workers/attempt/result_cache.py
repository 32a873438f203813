"""Asks the cache before a task is planned, and gives it what a judge has passed."""

import time
from dataclasses import dataclass

from orchestrator.bootstrap import WorkerProcess
from orchestrator.cache import admission, coalescing
from orchestrator.cache.admission import Admission, ExecutedAction
from orchestrator.cache.coalescing import FreshResult
from orchestrator.cache.exact import CacheEntry, control_of
from orchestrator.chord.database import outlast, statement
from orchestrator.memory import rounds
from orchestrator.memory.steps import Claim
from orchestrator.models.plan import Plan
from orchestrator.models.task_contract import Contract
from orchestrator.models.verdict import Verdict


@dataclass(frozen=True)
class Reuse:
    """A result that another task made, in place of a plan; `entry` is to lead to it in one trip from now on."""

    source: FreshResult
    entry: CacheEntry


@dataclass(frozen=True)
class Keeping:
    """What a judged result may do for other tasks, and the entry that leads to it, if it may answer later ones."""

    admission: Admission
    entry: CacheEntry | None
    goal: str
    plan: Plan


def recall(process: WorkerProcess, claim: Claim) -> Reuse | None:
    """Return a result under the claimed task's own key: one that Redis had lost, or that came since the submission."""
    control = control_of(Contract.from_record(claim.contract))
    if claim.cache_key is None or not control.reads:
        return None
    with statement(process.engine) as conn:
        source = coalescing.find_fresh(conn, claim.tenant, claim.cache_key, max_age=control.max_age_seconds)
        parts = coalescing.read_key_parts(conn, claim.task_id) if source else None
    if source is None or parts is None:
        return None
    return Reuse(source, CacheEntry(parts, source.source_id, claim.cache_key))


def keep(process: WorkerProcess, claim: Claim, verdict: Verdict) -> Keeping | None:
    """Decide what the judged result may do for other tasks; None for a task that the cache does not know."""
    if claim.cache_key is None:
        return None
    plan, executed, parts = outlast(
        lambda: _judged(process, claim), until=time.monotonic() + claim.seconds_left
    )
    contract = Contract.from_record(claim.contract)
    admitted = admission.admit(
        contract,
        plan,
        verdict,
        executed=executed,
        ttl_seconds=process.settings.cache_ttl,
    )
    is_kept = admitted.fresh_seconds > 0 and parts is not None
    entry = CacheEntry(parts, claim.task_id, claim.cache_key) if is_kept and parts else None
    return Keeping(admitted, entry, contract.goal, plan)


def _judged(process: WorkerProcess, claim: Claim) -> tuple[Plan, list[ExecutedAction], dict[str, str] | None]:
    with statement(process.engine) as conn:
        return (
            rounds.read(conn, claim.task_id, number=claim.round).plan,
            coalescing.read_executed(conn, claim.task_id),
            coalescing.read_key_parts(conn, claim.task_id),
        )


def remember(process: WorkerProcess, keeping: Keeping | None) -> None:
    """Let later submissions find a result, which is in Postgres, by one trip to Redis.

    Where there are models to judge, those that ask in other words find it too.
    """
    if keeping is None or keeping.entry is None:
        return
    entry, seconds = keeping.entry, keeping.admission.fresh_seconds
    process.cache.put(entry, seconds=seconds)
    if process.settings.models:
        process.similar_tasks.add(entry.source_key, keeping.goal, entry.source_id, seconds=seconds)
