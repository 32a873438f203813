"""Judges a round: reads its results, asks the judge arm, and decides what the cache may keep."""

from dataclasses import dataclass, replace

from orchestrator.chord.database import in_transaction, statement
from orchestrator.lifecycle import deliverables, output_offload
from orchestrator.memory import rounds, tasks
from orchestrator.memory.rounds import RoundResults
from orchestrator.models.verdict import Decision, Verdict
from orchestrator.process import crash_point
from orchestrator.process.crash_point import Point
from workers.arms.judge import RoundView, judge_round
from workers.attempt import result_cache
from workers.attempt.context import AttemptContext
from workers.attempt.model import model_of
from workers.attempt.result_cache import CacheableResult


@dataclass(frozen=True)
class JudgedRound:
    """The verdict on a round; `cacheable` is None for a task outside the cache."""

    verdict: Verdict
    cacheable: CacheableResult | None


def judge(attempt: AttemptContext) -> JudgedRound:
    """Return the verdict on the claimed round, and what the cache may keep; stores only the result's files.

    Raises MustWait.
    """
    view, read = _view(attempt)
    verdict = judge_round(view, model_of(attempt), on_writing=lambda: _enter_finishing(attempt))
    if verdict.decision is not Decision.FAILED:
        verdict = _with_files(attempt, view, verdict)
    crash_point.here(Point.JUDGED_NOT_FINISHED)
    return JudgedRound(verdict, result_cache.admit(attempt, verdict, read))


def _with_files(attempt: AttemptContext, view: RoundView, verdict: Verdict) -> Verdict:
    """Return the verdict with the files of the result, which are stored: a repeated attempt finds the same ones."""
    found = deliverables.find(view.outputs(), view.recorded(), given=attempt.contract.attachments)
    if not found:
        return verdict
    tenant = attempt.claim.tenant
    stored = in_transaction(attempt.process.engine, lambda conn: deliverables.store(conn, tenant, found))
    return replace(verdict, artifacts=tuple(stored))


def _enter_finishing(attempt: AttemptContext) -> None:
    """Say to those who watch the task that its answer is being written."""
    with statement(attempt.process.engine) as conn:
        tasks.enter_finishing(conn, attempt.claim.task_id)
    attempt.process.hints.send(attempt.claim.task_id)


def _view(attempt: AttemptContext) -> tuple[RoundView, RoundResults]:
    claim = attempt.claim
    with statement(attempt.process.engine) as conn:
        read = rounds.read_results(conn, claim.task_id, number=claim.round)
        # a task that was planned again has results of steps that this plan lacks
        names = {step.id for step in read.plan.steps}
        outcomes = [row for row in read.outcomes if row.name in names]
        results = {row.name: row.result for row in outcomes if row.result is not None}
        offloaded = {name: result for name, result in results.items() if result.artifact is not None}
        outputs = output_offload.load_outputs(conn, claim.tenant, offloaded)
    view = RoundView(
        contract=attempt.contract,
        plan=read.plan,
        results=results,
        states={row.name: row.state for row in outcomes},
        offers={row.name: row.offer for row in outcomes},
        round=claim.round,
        large_outputs=outputs,
    )
    return view, read
