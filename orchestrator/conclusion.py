"""Concludes a round by its verdict, and ends a task for any other reason that an attempt finds; in one transaction."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from sqlalchemy import Connection

from orchestrator.cache.admission import Admission
from orchestrator.cache.coalescing import FreshResult
from orchestrator.chord import chord
from orchestrator.lifecycle.ending import Ended, Ending, end_task, task_error
from orchestrator.lifecycle.event_payloads import (
    attempt_decision,
    result_of,
    started_events,
    step_event,
    verdict_event,
)
from orchestrator.lifecycle.fencing import finish_row, open_task
from orchestrator.lifecycle.repair import Repair, earlier_loops, plan_repair
from orchestrator.lifecycle.replan import (
    NoReplan,
    ReplanOrder,
    order_of,
    plan_replan,
    planner_message,
    plans_of,
)
from orchestrator.lifecycle.round_rows import RoundLayout
from orchestrator.lifecycle.saved_round import RoundFacts, SavedRound, save_round
from orchestrator.memory import budget as ledger
from orchestrator.memory import events, rounds, steps
from orchestrator.memory.claims import Claim
from orchestrator.memory.steps import StepMessage, StepOutcome
from orchestrator.memory.tasks import LockedTask
from orchestrator.models import record
from orchestrator.models.arm_capability import find_action
from orchestrator.models.errors import BudgetExceeded
from orchestrator.models.execution_state import StepState, TaskStatus
from orchestrator.models.fork import is_replay
from orchestrator.models.ids import chord_id
from orchestrator.models.plan import Plan
from orchestrator.models.step_result import StepResult
from orchestrator.models.task_contract import Contract, Priority
from orchestrator.models.trace_context import Judgement
from orchestrator.models.verdict import Decision, Verdict
from orchestrator.models.wording import count_of
from orchestrator.settings import Settings


@dataclass(frozen=True)
class PlanAsked:
    """A task that is to be planned again; `planner` is the message to publish."""

    planner: StepMessage


@dataclass(frozen=True)
class _Rejection:
    """A verdict that rejects a round, and the judge's attempt that gave it."""

    verdict: Verdict
    by: Judgement


def conclude(
    conn: Connection,
    claim: Claim,
    verdict: Verdict,
    *,
    settings: Settings,
    admission: Admission | None = None,
) -> Ended | SavedRound | PlanAsked:
    """Save the verdict and skip the steps that it leaves blocked; then end the task, or save what mends it.

    That is a repair round or, where a repair can't help, the row of a planner that makes another plan.
    Rule 12 of ENGINE.md. `admission` says what the result may do for other tasks. Raises Refused when the judge's
    claim is not the current one.
    """
    chord.lock(conn, chord_id(claim.task_id, round_number=claim.round))
    task = open_task(conn, claim)
    finish_row(conn, claim, StepState.DONE, {"decision": verdict.decision.value})
    rounds.save_verdict(conn, task.id, number=claim.round, verdict=verdict)
    skipped = steps.skip_blocked(conn, task.id, round_number=claim.round)
    passed = completion(claim, verdict, admission)
    facts = [*(("step.skipped", {"step": name, "round": claim.round}) for name in skipped), *passed.facts]
    if verdict.decision is Decision.FAILED:
        decisions = {"verdict": verdict.to_record()}
        events.write(conn, task.id, facts, round_number=claim.round, decisions=decisions)
        rejection = _Rejection(verdict, Judgement(claim.round, claim.attempt))
        return _mend_or_reject(conn, task, rejection, settings=settings)
    return end_task(conn, task, replace(passed, facts=facts))


def _mend_or_reject(
    conn: Connection, task: LockedTask, rejection: _Rejection, *, settings: Settings
) -> Ended | SavedRound | PlanAsked:
    verdict = rejection.verdict
    history = rounds.history(conn, task.id)
    plan = history[-1].plan
    outcomes = steps.results_of(conn, task.id, round_number=task.round)
    budget = Contract.from_record(task.contract).budget
    repairs_done = task.round - plans_of(history)
    repair = plan_repair(plan, verdict, outcomes, repairs_done=repairs_done, max_repairs=budget.max_repairs)
    if isinstance(repair, Repair):
        chord.close(conn, chord_id(task.id, round_number=task.round))
        return _save_repair(conn, task, plan, repair, outcomes, rejection=rejection, settings=settings)
    tokens_left = budget.max_tokens - ledger.used(conn, task.id)[0]
    order = plan_replan(history, verdict, outcomes, budget=budget, tokens_left=tokens_left, why=repair.reason)
    if isinstance(order, NoReplan):
        return _reject(conn, task, verdict, outcomes, reason=f"{repair.reason}; {order.reason}")
    chord.close(conn, chord_id(task.id, round_number=task.round))
    return _ask_for_plan(conn, task, order, rejection, settings=settings)


def _save_repair(
    conn: Connection,
    task: LockedTask,
    plan: Plan,
    repair: Repair,
    outcomes: Sequence[StepOutcome],
    *,
    rejection: _Rejection,
    settings: Settings,
) -> SavedRound:
    verdict = rejection.verdict
    layout = RoundLayout(
        task_id=task.id,
        number=task.round + 1,
        priority=Priority(task.priority).broker_priority,
        routes={row.name: row.offer for row in outcomes},
        reruns=repair.reruns,
        kept=repair.kept,
        feedback=verdict.faulty,
        # nothing that a replay does takes effect
        repeats=() if is_replay(task.contract) else repair.repeats,
        earlier=earlier_loops(plan, repair.reruns, verdict, outcomes, task_id=task.id, number=task.round),
        judged=rejection.by,
    )
    reruns = sorted(repair.reruns)
    fact = {"reruns": reruns, "kept": sorted(repair.kept), "feedback": dict(verdict.faulty)}
    decision = {"repair": True, "reruns": reruns, "kept": dict(repair.kept)}
    recorded = RoundFacts([("task.repair", fact)], {"repair": decision})
    return save_round(conn, task, plan, layout, recorded, settings=settings)


def _ask_for_plan(
    conn: Connection, task: LockedTask, order: ReplanOrder, rejection: _Rejection, *, settings: Settings
) -> PlanAsked:
    planner = planner_message(task, order, rejection.by)
    rounds.plan_again(conn, planner, redispatch_seconds=settings.redispatch_seconds)
    fact = {"round": task.round, "reason": order.reason, "feedback": dict(rejection.verdict.faulty)}
    decision = {"replan": True, **asdict(order), "faulty": sorted(rejection.verdict.faulty)}
    events.write(
        conn,
        task.id,
        [("task.replan", fact)],
        round_number=task.round,
        decisions={"repair": {"repair": False, "reason": order.reason}, "replan": decision},
    )
    return PlanAsked(planner)


def _reject(
    conn: Connection,
    task: LockedTask,
    verdict: Verdict,
    outcomes: Sequence[StepOutcome],
    *,
    reason: str,
) -> Ended:
    actions = [find_action(row.offer) for row in outcomes]
    checks = [finding for finding in verdict.findings if finding.required]
    failed = [finding.explanation for finding in checks if finding.met is False]
    error = task_error(
        "validation_failed",
        code="validation_failed",
        message=f"The judge rejected the result: {len(failed)} of {count_of(len(checks), 'check')} failed; {reason}.",
        details="; ".join(failed),
    )
    ending = Ending(
        TaskStatus.FAILED,
        result=result_of(verdict),
        error=error,
        decisions={"repair": {"repair": False, "reason": reason}},
        has_writes=any(action is None or action.effects == "write" for action in actions),
    )
    return end_task(conn, task, ending)


def completion(claim: Claim, verdict: Verdict, admission: Admission | None) -> Ending:
    """Return how a task ends whose result the judge did not reject."""
    decisions = {"verdict": verdict.to_record()}
    if admission is not None:
        decisions["admission"] = asdict(admission)
    return Ending(
        TaskStatus.COMPLETED,
        result=result_of(verdict),
        facts=[("judge.verdict", verdict_event(claim, verdict))],
        decisions=decisions,
        admission=admission or Admission(is_shared=False),
    )


def complete_by(conn: Connection, claim: Claim, source: FreshResult, *, layer: str) -> Ended:
    """Complete a task with another task's result, in the transaction that stores the planner's outcome.

    Raises Refused like `adopt`.
    """
    task = open_task(conn, claim)
    finish_row(conn, claim, StepState.DONE, {"source_task_id": source.source_id})
    cache = {
        "layer": layer,
        "source_task_id": source.source_id,
        "age_seconds": round(source.age_seconds, 3),
    }
    ending = Ending(
        TaskStatus.COMPLETED,
        result=source.result,
        facts=[("task.cache", cache)],
        decisions={"cache": {**cache, "outcome": "hit"}},
        admission=Admission(is_shared=True),
        cache=cache,
    )
    return end_task(conn, task, ending)


def exhaust(conn: Connection, claim: Claim, result: StepResult) -> Ended:
    """End the task with a partial result because this step found no budget left.

    The backend holds the lock of the chord `claim.chord_id`. Raises Refused like `complete`.
    """
    task = open_task(conn, claim)
    finished = finish_row(conn, claim, StepState.FAILED, result.to_record())
    error = result.error or {}
    ending = Ending(
        TaskStatus.FAILED,
        error=task_error(
            "budget_exceeded", code=error["code"], message=error["message"], details=_as_text(error)
        ),
        facts=[*started_events([finished]), step_event(claim, result, finished)],
        decisions={"attempt": attempt_decision(claim, result, finished)},
    )
    return end_task(conn, task, ending)


def fail_task(conn: Connection, claim: Claim, *, error: Mapping[str, Any], kind: str) -> Ended:
    """End the task because its planning or its judging failed. Raises Refused like `adopt`."""
    if claim.round:
        chord.lock(conn, chord_id(claim.task_id, round_number=claim.round))
    task = open_task(conn, claim)
    finish_row(conn, claim, StepState.FAILED, {"error": dict(error)})
    if (order := order_of(claim.spec)) is not None:
        return _reject_after_replan(conn, task, order, error)
    reason = task_error(
        BudgetExceeded.code if error["code"] == BudgetExceeded.code else kind,
        code=error["code"],
        message=error["message"],
        retryable=bool(error.get("retryable")),
        details=_as_text(error),
    )
    return end_task(conn, task, Ending(TaskStatus.FAILED, error=reason))


def _reject_after_replan(
    conn: Connection, task: LockedTask, order: ReplanOrder, error: Mapping[str, Any]
) -> Ended:
    """End the task with the verdict for which another plan was to be made, and say why there is none."""
    verdict = rounds.read(conn, task.id, number=task.round).verdict
    if verdict is None:
        raise LookupError(f"round {task.round} of {task.id} was planned again without a verdict")
    outcomes = steps.results_of(conn, task.id, round_number=task.round)
    why = str(error["message"]).rstrip(".")
    reason = f"{order.reason}; no other plan was made ({error['code']}: {why})"
    return _reject(conn, task, verdict, outcomes, reason=reason)


def _as_text(error: Mapping[str, Any]) -> str | None:
    """Return an error's details as JSON text: the client libraries parse them as a string."""
    details = error.get("details")
    return record.encode(details) if details else None
