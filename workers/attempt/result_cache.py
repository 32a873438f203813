"""Connects an attempt to the result cache: a lookup before planning, an admission after judging."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.bootstrap import WorkerProcess
from orchestrator.cache import admission, coalescing
from orchestrator.cache.admission import Admission, ExecutedAction
from orchestrator.cache.coalescing import FreshResult
from orchestrator.cache.exact import CacheEntry, control_of
from orchestrator.chord.database import outlast, statement
from orchestrator.memory.rounds import RoundResults
from orchestrator.models.plan import Plan
from orchestrator.models.step_result import StepResult
from orchestrator.models.verdict import Verdict
from workers.attempt.context import AttemptContext


@dataclass(frozen=True)
class ReusedResult:
    """A result of another task, used in place of a plan; `entry` lets later submissions find it in one Redis trip."""

    source: FreshResult
    entry: CacheEntry


@dataclass(frozen=True)
class CacheableResult:
    """What the cache may do with a judged result; `entry` is None when the result may not answer later tasks."""

    admission: Admission
    entry: CacheEntry | None
    goal: str
    plan: Plan


def find_result(attempt: AttemptContext) -> ReusedResult | None:
    """Return a result under the task's own key: one that Redis lost, or that was stored after the submission."""
    claim, control = attempt.claim, control_of(attempt.contract)
    if claim.cache_key is None or not control.reads:
        return None
    with statement(attempt.process.engine) as conn:
        source = coalescing.find_fresh(conn, claim.tenant, claim.cache_key, max_age=control.max_age_seconds)
        parts = coalescing.read_key_parts(conn, claim.task_id) if source else None
    if source is None or parts is None:
        return None
    return ReusedResult(source, CacheEntry(parts, source.source_id, claim.cache_key))


def admit(attempt: AttemptContext, verdict: Verdict, read: RoundResults) -> CacheableResult | None:
    """Decide what the cache may do with the judged result; None for a task outside the cache."""
    claim = attempt.claim
    if claim.cache_key is None:
        return None
    executed = outlast(lambda: _executed(attempt, read), until=time.monotonic() + claim.seconds_left)
    admitted = admission.admit(
        attempt.contract,
        read.plan,
        verdict,
        executed=executed,
        ttl_seconds=attempt.process.settings.cache_ttl,
    )
    parts = read.cache_parts if admitted.fresh_seconds > 0 else None
    entry = CacheEntry(parts, claim.task_id, claim.cache_key) if parts else None
    return CacheableResult(admitted, entry, attempt.contract.goal, read.plan)


def _executed(attempt: AttemptContext, read: RoundResults) -> Sequence[ExecutedAction]:
    """Return the actions that ran for the task; in the first round they are those whose results were read."""
    if attempt.claim.round == 1:
        return [
            ExecutedAction(row.arm, row.action, row.state, _memo_age_seconds(row.result))
            for row in read.outcomes
        ]
    with statement(attempt.process.engine) as conn:
        return coalescing.read_executed(conn, attempt.claim.task_id)


def _memo_age_seconds(result: StepResult | None) -> float:
    return float(result.provenance.get("memo_age_seconds") or 0.0) if result else 0.0


def store(process: WorkerProcess, result: CacheableResult | None) -> None:
    """Put the entry of a committed result into Redis; with models configured, add it to the semantic index as well."""
    if result is None or result.entry is None:
        return
    entry, seconds = result.entry, result.admission.fresh_seconds
    process.cache.put(entry, seconds=seconds)
    if process.settings.models:
        process.similar_tasks.add(entry.source_key, result.goal, entry.source_id, seconds=seconds)
