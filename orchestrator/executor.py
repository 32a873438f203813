"""Runs a task's rounds as dataflow: adopts a plan, completes a step, concludes a round; each in one transaction."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from sqlalchemy import Connection

from orchestrator.auth import permit
from orchestrator.cache.admission import Admission
from orchestrator.cache.coalescing import FreshResult
from orchestrator.chord import chord
from orchestrator.chord.chord import Refused
from orchestrator.lifecycle import approvals, loops
from orchestrator.lifecycle.ending import Ended, Ending, end_task, task_error
from orchestrator.lifecycle.event_payloads import (
    attempt_decision,
    queued_events,
    result_of,
    reused_event,
    started_events,
    step_event,
    verdict_event,
)
from orchestrator.lifecycle.repair import NoRepair, plan_repair
from orchestrator.lifecycle.retry import RoundReuse, plan_reuse, source_of
from orchestrator.lifecycle.round_rows import RoundLayout, judge_message, latest_end, messages, rows
from orchestrator.memory import events, rounds, steps, tasks
from orchestrator.memory.claims import Claim
from orchestrator.memory.events import Fact
from orchestrator.memory.rounds import NewRound
from orchestrator.memory.steps import FinishedStep, StepMessage
from orchestrator.memory.tasks import LockedTask
from orchestrator.memory.transitions import Answer
from orchestrator.models import record
from orchestrator.models.arm_capability import find_action
from orchestrator.models.errors import BudgetExceeded
from orchestrator.models.execution_state import Phase, StepState, TaskStatus
from orchestrator.models.ids import chord_id, new_plan_id
from orchestrator.models.loop import Spread
from orchestrator.models.plan import Offer, Plan
from orchestrator.models.step_result import StepResult
from orchestrator.models.task_contract import Contract, Priority
from orchestrator.models.verdict import Decision, Verdict
from orchestrator.models.wording import count_of
from orchestrator.settings import Settings


@dataclass(frozen=True)
class SavedRound:
    """A saved round; its released and waiting steps are the header of the chord to publish, its judge is the body."""

    chord_id: str
    header: Sequence[StepMessage]
    judge: StepMessage


@dataclass(frozen=True)
class StepCompletion:
    """How long a step ran, and what joins the chord: the steps that it released or that wait now, or the judge."""

    seconds: float
    released: Sequence[StepMessage]


@dataclass(frozen=True)
class RoundFacts:
    """The events and trace decisions that a new round adds; the first event gets the plan's id and the round."""

    facts: Sequence[Fact]
    decisions: Mapping[str, Mapping[str, Any]]


def adopt(
    conn: Connection, claim: Claim, plan: Plan, *, routes: Mapping[str, Mapping[str, Any]], settings: Settings
) -> SavedRound:
    """Save a task's first round, in the transaction that stores the planner's outcome.

    `routes` maps each step to its routing decision, which has the `arm` and the `action`. Raises Refused when the
    planner's claim is not the current one, or the task has ended or already has a round.
    """
    task = _open_task(conn, claim)
    _finish_row(conn, claim, StepState.DONE, {"plan": plan.to_record()})
    layout, recorded = first_round(
        task.id, plan, routes=routes, priority=task.priority, reuse=_reuse(conn, claim, plan)
    )
    return _save_round(conn, task, plan, layout, recorded, settings=settings)


def first_round(
    task_id: str, plan: Plan, *, routes: Mapping[str, Mapping[str, Any]], priority: str, reuse: RoundReuse
) -> tuple[RoundLayout, RoundFacts]:
    """Return the layout of a task's first round, and what it adds to the task's events and trace."""
    reused = {name: row.id for name, row in reuse.kept.items()}
    layout = RoundLayout(
        task_id=task_id,
        number=1,
        priority=Priority(priority).broker_priority,
        routes={name: Offer(route["arm"], route["action"]) for name, route in routes.items()}
        | {name: row.offer for name, row in reuse.kept.items()},
        reruns=reuse.reruns,
        kept=reused,
        repeats=reuse.repeats,
    )
    graph = [
        {"step": step.id, "arm": layout.routes[step.id].arm, "depends_on": step.depends_on}
        for step in plan.steps
    ]
    decisions: dict[str, Mapping[str, Any]] = {
        "plan": plan.to_record(),
        "route": {name: route for name, route in routes.items() if name in reuse.reruns},
    }
    if reused:
        decisions["reuse"] = {"steps": reused, "reruns": sorted(reuse.reruns)}
    facts = [
        ("task.planned", {"mode": plan.mode, "steps": graph}),
        *(reused_event(layout, row) for row in reuse.kept.values()),
    ]
    return layout, RoundFacts(facts, decisions)


def complete(
    conn: Connection, claim: Claim, outcome: StepResult | Spread, *, settings: Settings
) -> StepCompletion:
    """Close a step, unblock its dependents and release steps into free slots, in the backend's transaction.

    Rule 10 of ENGINE.md. A spread also adds the rows of its items, which are released with the others. The backend
    holds the lock of the chord `claim.chord_id`. Raises Refused for a late duplicate, or an attempt that is not the
    current one.
    """
    task = _open_task(conn, claim)
    spread_facts: list[Fact] = []
    if isinstance(outcome, Spread):
        # before the spread is closed: its end would let the gather begin
        spread_facts = loops.save_items(conn, task, claim, outcome, settings=settings)
    result = outcome.result if isinstance(outcome, Spread) else outcome
    finished = _finish_row(conn, claim, StepState(result.status.value), result.to_record())
    # a success may arrive while a person is asked whether there was one
    answered = approvals.withdraw_outcome(conn, task, claim.id) if claim.spec.get("once") else []
    begun = steps.release(
        conn,
        task.id,
        round_number=claim.round,
        max_parallel=settings.max_parallel_arms,
        redispatch_seconds=settings.redispatch_seconds,
    )
    events.write(
        conn,
        task.id,
        [
            *started_events([finished]),
            step_event(claim, result, finished),
            *spread_facts,
            *answered,
            *queued_events(begun),
        ],
        round_number=claim.round,
        decisions={"attempt": attempt_decision(claim, result, finished)},
        progress=True,
    )
    approvals.request(conn, task, begun)
    return StepCompletion(finished.seconds, begun)


def conclude(
    conn: Connection,
    claim: Claim,
    verdict: Verdict,
    *,
    settings: Settings,
    admission: Admission | None = None,
) -> Ended | SavedRound:
    """Save the verdict and skip the steps that it leaves blocked; then end the task or save a repair round.

    Rule 12 of ENGINE.md. `admission` says what the result may do for other tasks. Raises Refused when the judge's
    claim is not the current one.
    """
    chord.lock(conn, chord_id(claim.task_id, round_number=claim.round))
    task = _open_task(conn, claim)
    _finish_row(conn, claim, StepState.DONE, {"decision": verdict.decision.value})
    rounds.save_verdict(conn, task.id, number=claim.round, verdict=verdict)
    skipped = steps.skip_blocked(conn, task.id, round_number=claim.round)
    passed = completion(claim, verdict, admission)
    facts = [*(("step.skipped", {"step": name, "round": claim.round}) for name in skipped), *passed.facts]
    if verdict.decision is Decision.FAILED:
        decisions = {"verdict": verdict.to_record()}
        events.write(conn, task.id, facts, round_number=claim.round, decisions=decisions)
        return _repair_or_reject(conn, task, verdict, settings=settings)
    return end_task(conn, task, replace(passed, facts=facts))


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
    task = _open_task(conn, claim)
    _finish_row(conn, claim, StepState.DONE, {"source_task_id": source.source_id})
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
    task = _open_task(conn, claim)
    finished = _finish_row(conn, claim, StepState.FAILED, result.to_record())
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
    task = _open_task(conn, claim)
    _finish_row(conn, claim, StepState.FAILED, {"error": dict(error)})
    reason = task_error(
        BudgetExceeded.code if error["code"] == BudgetExceeded.code else kind,
        code=error["code"],
        message=error["message"],
        retryable=bool(error.get("retryable")),
        details=_as_text(error),
    )
    return end_task(conn, task, Ending(TaskStatus.FAILED, error=reason))


def _as_text(error: Mapping[str, Any]) -> str | None:
    """Return an error's details as JSON text: the client libraries parse them as a string."""
    details = error.get("details")
    return record.encode(details) if details else None


def _open_task(conn: Connection, claim: Claim) -> LockedTask:
    """Lock the claim's task; raises Refused when it has ended or is in another round."""
    task = tasks.lock_task(conn, claim.task_id)
    if task is None or task.finished_at is not None:
        raise refusal(claim, Answer.ENDED)
    if task.round != claim.round:
        raise refusal(claim, Answer.MOVED, current_round=task.round)
    return task


def refusal(claim: Claim, answer: Answer, *, current_round: int | None = None) -> Refused:
    """Return the error for an outcome that is not accepted."""
    if answer is Answer.ENDED:
        return Refused(f"{claim.task_id} has ended")
    if answer is Answer.MOVED:
        return Refused(f"{claim.task_id} is in round {current_round}, not in {claim.round}")
    return Refused(f"attempt {claim.attempt} of step {claim.name} of {claim.task_id} is not the current one")


def _finish_row(conn: Connection, claim: Claim, state: StepState, result: Mapping[str, Any]) -> FinishedStep:
    """Close the claim's row; raises Refused when the claim is not the current one."""
    finished = steps.finish(
        conn, claim.id, chord_id=claim.chord_id, attempt=claim.attempt, state=state, result=result
    )
    if finished is None:
        raise refusal(claim, Answer.STALE)
    return finished


def _reuse(conn: Connection, claim: Claim, plan: Plan) -> RoundReuse:
    """Return which steps of a retry keep their results; none for a task that repeats no other."""
    source = source_of(claim.spec)
    if source is None:
        return plan_reuse(plan, ())
    outcomes = steps.results_of(conn, source.task_id, round_number=source.round)
    return plan_reuse(plan, outcomes, from_step=source.from_step)


def _save_round(
    conn: Connection,
    task: LockedTask,
    plan: Plan,
    layout: RoundLayout,
    recorded: RoundFacts,
    *,
    settings: Settings,
) -> SavedRound:
    plan_id = task.plan_id or new_plan_id()
    new, facts = round_to_save(task, plan, layout, recorded, plan_id=plan_id, settings=settings)
    rounds.save(
        conn, new, facts, decisions=recorded.decisions, redispatch_seconds=settings.redispatch_seconds
    )
    begun = messages(new.rows)
    approvals.request(conn, task, begun)
    return SavedRound(new.chord_id, begun, judge_message(layout))


def round_to_save(
    task: LockedTask | Claim,
    plan: Plan,
    layout: RoundLayout,
    recorded: RoundFacts,
    *,
    plan_id: str,
    settings: Settings,
) -> tuple[NewRound, Sequence[Fact]]:
    """Return a round as it is inserted, with the events that go with it."""
    number = layout.number
    work = rows(plan, layout, max_parallel=settings.max_parallel_arms)
    if key := settings.permit_private_key:
        until = latest_end(work, deadline_at=task.deadline_at, contract=task.contract)
        work = permit.add_permits(key, work, tenant=task.tenant, deadline_at=until)
    new = NewRound(
        task_id=layout.task_id,
        number=number,
        plan_id=plan_id,
        chord_id=chord_id(layout.task_id, round_number=number),
        plan=plan,
        phase=(Phase.EXECUTING if number == 1 else Phase.REPAIRING).value,
        rows=work,
    )
    (kind, payload, *_), *facts = recorded.facts
    queued = queued_events(messages(work))
    return new, [(kind, {"plan_id": plan_id, "round": number, **payload}), *facts, *queued]


def _repair_or_reject(
    conn: Connection, task: LockedTask, verdict: Verdict, *, settings: Settings
) -> Ended | SavedRound:
    plan = rounds.read(conn, task.id, number=task.round).plan
    outcomes = steps.results_of(conn, task.id, round_number=task.round)
    budget = Contract.from_record(task.contract).budget
    repair = plan_repair(plan, verdict, outcomes, repairs_done=task.round - 1, max_repairs=budget.max_repairs)
    if isinstance(repair, NoRepair):
        actions = [find_action(row.offer) for row in outcomes]
        has_writes = any(action is None or action.effects == "write" for action in actions)
        return _reject(conn, task, verdict, reason=repair.reason, has_writes=has_writes)
    chord.close(conn, chord_id(task.id, round_number=task.round))
    layout = RoundLayout(
        task_id=task.id,
        number=task.round + 1,
        priority=Priority(task.priority).broker_priority,
        routes={row.name: row.offer for row in outcomes},
        reruns=repair.reruns,
        kept=repair.kept,
        feedback=verdict.faulty,
        repeats=repair.repeats,
    )
    reruns = sorted(repair.reruns)
    fact = {"reruns": reruns, "kept": sorted(repair.kept), "feedback": dict(verdict.faulty)}
    decision = {"repair": True, "reruns": reruns, "kept": dict(repair.kept)}
    recorded = RoundFacts([("task.repair", fact)], {"repair": decision})
    return _save_round(conn, task, plan, layout, recorded, settings=settings)


def _reject(conn: Connection, task: LockedTask, verdict: Verdict, *, reason: str, has_writes: bool) -> Ended:
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
        has_writes=has_writes,
    )
    return end_task(conn, task, ending)
