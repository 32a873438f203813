"""Runs a task's rounds as dataflow: adopts a plan, completes a step and releases what it freed; in one transaction."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Connection

from orchestrator.lifecycle import approvals, early_steps, loops
from orchestrator.lifecycle.early_steps import NO_EARLY_STEPS, SettledSteps
from orchestrator.lifecycle.event_payloads import (
    attempt_decision,
    queued_events,
    reused_event,
    started_events,
    step_event,
)
from orchestrator.lifecycle.fencing import finish_row, open_task
from orchestrator.lifecycle.replan import order_of, reuse_after_replan
from orchestrator.lifecycle.retry import RetrySource, RoundReuse, plan_reuse, read_reuse, source_of
from orchestrator.lifecycle.round_rows import EarlierLoop, RoundLayout
from orchestrator.lifecycle.saved_round import RoundFacts, SavedRound, save_round
from orchestrator.memory import effects, events, rounds, steps
from orchestrator.memory.claims import Claim
from orchestrator.memory.events import Fact
from orchestrator.memory.steps import StepMessage
from orchestrator.models.execution_state import StepState
from orchestrator.models.fork import is_replay
from orchestrator.models.loop import Spread
from orchestrator.models.plan import Offer, Plan
from orchestrator.models.step_result import StepResult
from orchestrator.models.task_contract import Priority
from orchestrator.settings import Settings


@dataclass(frozen=True)
class StepCompletion:
    """How long a step ran, and what joins the chord: the steps that it released or that wait now, or the judge."""

    seconds: float
    released: Sequence[StepMessage]


def adopt(
    conn: Connection, claim: Claim, plan: Plan, *, routes: Mapping[str, Mapping[str, Any]], settings: Settings
) -> SavedRound:
    """Save the first round of a plan, in the transaction that stores the planner's outcome.

    It is the task's first round, or the next one if the task was planned again. `routes` maps each step to its routing
    decision, which has the `arm` and the `action`. Raises Refused when the planner's claim is not the current one, or
    the task has ended or already has the round.
    """
    task = open_task(conn, claim)
    finish_row(conn, claim, StepState.DONE, {"plan": plan.to_record()})
    early = early_steps.settle(conn, claim, plan)
    reuse = _reuse(conn, claim, plan, routes)
    layout, recorded = planned_round(
        task.id,
        plan,
        routes=routes,
        priority=task.priority,
        reuse=reuse,
        number=task.round + 1,
        early=early,
    )
    # a round of another plan has another plan_id: so the two kinds of rounds are told apart
    saved = save_round(conn, replace(task, plan_id=None), plan, layout, recorded, settings=settings)
    return replace(saved, stopped=early.stopped)


def planned_round(
    task_id: str,
    plan: Plan,
    *,
    routes: Mapping[str, Mapping[str, Any]],
    priority: str,
    reuse: RoundReuse,
    number: int = 1,
    early: SettledSteps = NO_EARLY_STEPS,
) -> tuple[RoundLayout, RoundFacts]:
    """Return the layout of the first round of a plan, and what it adds to the task's events and trace."""
    reused = {name: row.id for name, row in reuse.kept.items()}
    layout = RoundLayout(
        task_id=task_id,
        number=number,
        priority=Priority(priority).broker_priority,
        routes={name: Offer(route["arm"], route["action"]) for name, route in routes.items()}
        | {name: row.offer for name, row in reuse.kept.items()}
        | {name: step.offer for name, step in early.taken.items()},
        reruns=reuse.reruns,
        kept=reused,
        feedback=reuse.feedback,
        repeats=reuse.repeats,
        early=early.taken,
        earlier=_earlier_loops(plan, reuse),
    )
    graph = [
        {"step": step.id, "arm": layout.routes[step.id].arm, "depends_on": step.depends_on,
         **({"for_each": True} if step.for_each is not None else {})}
        for step in plan.steps
    ]  # fmt: skip
    became = early.to_record()
    decisions: dict[str, Mapping[str, Any]] = {
        "plan": plan.to_record() | ({"early": became} if became else {}),
        # those of early steps were told when they began
        "route": {
            name: route for name, route in routes.items() if name in reuse.reruns and name not in early.taken
        },
    }
    if reused:
        decisions["reuse"] = {"steps": reused, "reruns": sorted(reuse.reruns)}
    # in a later round a kept step has no row of its own
    kept = {"kept": sorted(reused)} if number > 1 else {}
    facts = [
        (
            "task.planned",
            {"mode": plan.mode, "steps": graph, **kept, **({"early": became} if became else {})},
        ),
        *(reused_event(layout, row) for row in reuse.kept.values() if number == 1),
    ]
    return layout, RoundFacts(facts, decisions)


def _earlier_loops(plan: Plan, reuse: RoundReuse) -> dict[str, EarlierLoop]:
    """Return where the steps with for_each ran before; all items of `from_step`, or of those `again`, run again."""
    source = reuse.source
    if source is None:
        return {}
    return {
        step.id: EarlierLoop(
            source.task_id,
            source.round,
            None if step.id in reuse.again else (),
        )
        for step in plan.steps
        if step.for_each is not None and step.id in reuse.reruns
    }


def complete(
    conn: Connection, claim: Claim, outcome: StepResult | Spread, *, settings: Settings
) -> StepCompletion:
    """Close a step, unblock its dependents and release steps into free slots, in the backend's transaction.

    Rule 10 of ENGINE.md. A spread also adds the rows of its items, which are released with the others. The backend
    holds the lock of the chord `claim.chord_id`. Raises Refused for a late duplicate, or an attempt that is not the
    current one.
    """
    task = open_task(conn, claim)
    spread_facts: list[Fact] = []
    if isinstance(outcome, Spread):
        # before the spread is closed: its end would let the gather begin
        spread_facts = loops.save_items(conn, task, claim, outcome, settings=settings)
    result = outcome.result if isinstance(outcome, Spread) else outcome
    finished = finish_row(conn, claim, StepState(result.status.value), result.to_record())
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
        # the number of the plan's steps is not known before it is complete
        progress=claim.round > 0,
    )
    approvals.request(conn, task, begun)
    return StepCompletion(finished.seconds, begun)


def _reuse(conn: Connection, claim: Claim, plan: Plan, routes: Mapping[str, Mapping[str, Any]]) -> RoundReuse:
    found = _found_reuse(conn, claim, plan, routes)
    # nothing that a replay does takes effect
    return replace(found, repeats=frozenset()) if is_replay(claim.contract) else found


def _found_reuse(
    conn: Connection, claim: Claim, plan: Plan, routes: Mapping[str, Mapping[str, Any]]
) -> RoundReuse:
    """Return which steps of a retry, or of a task that was planned again, keep their results."""
    is_replanned = order_of(claim.spec) is not None
    source = RetrySource(claim.task_id, claim.round, None) if is_replanned else source_of(claim.spec)
    if source is None:
        return plan_reuse(plan, ())
    if not is_replanned and not source.is_planned_again:
        return read_reuse(conn, plan, source)
    earlier = rounds.read(conn, source.task_id, number=source.round)
    outcomes = steps.results_of(conn, source.task_id, round_number=source.round)
    acted = effects.acted(conn, source.task_id)
    reuse = reuse_after_replan(plan, earlier, outcomes, routes=routes, acted=acted)
    # a fork's steps get no feedback: nobody has rejected them in this task
    return replace(reuse, source=source, feedback=reuse.feedback if is_replanned else {})
