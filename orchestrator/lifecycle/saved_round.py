"""Saves a round: its rows, permits, gates and events, in the caller's transaction."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from orchestrator.auth import permit
from orchestrator.lifecycle import approvals
from orchestrator.lifecycle.event_payloads import queued_events
from orchestrator.lifecycle.round_rows import RoundLayout, judge_message, latest_end, messages, rows
from orchestrator.memory import early_steps, rounds
from orchestrator.memory.claims import Claim
from orchestrator.memory.events import Fact
from orchestrator.memory.rounds import NewRound
from orchestrator.memory.steps import Fenced, StepMessage
from orchestrator.memory.tasks import LockedTask
from orchestrator.models.execution_state import Phase
from orchestrator.models.ids import chord_id, new_plan_id
from orchestrator.models.plan import Plan
from orchestrator.settings import Settings


@dataclass(frozen=True)
class SavedRound:
    """A saved round; its released and waiting steps are the header of the chord to publish, its judge is the body.

    `stopped` are steps that began before the plan was complete, and that it does not have.
    """

    chord_id: str
    header: Sequence[StepMessage]
    judge: StepMessage
    stopped: Sequence[Fenced] = ()


@dataclass(frozen=True)
class RoundFacts:
    """The events and trace decisions that a new round adds; the first event gets the plan's id and the round."""

    facts: Sequence[Fact]
    decisions: Mapping[str, Mapping[str, Any]]


def save_round(
    conn: Connection,
    task: LockedTask,
    plan: Plan,
    layout: RoundLayout,
    recorded: RoundFacts,
    *,
    settings: Settings,
) -> SavedRound:
    """Save the round and ask persons about its gated steps; the caller holds the locks of the chord and the task."""
    plan_id = task.plan_id or new_plan_id()
    new, facts = round_to_save(task, plan, layout, recorded, plan_id=plan_id, settings=settings)
    rounds.save(
        conn, new, facts, decisions=recorded.decisions, redispatch_seconds=settings.redispatch_seconds
    )
    if new.early_rows:
        early_steps.move(conn, task.id, new.early_rows, redispatch_seconds=settings.redispatch_seconds)
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
    (kind, payload, *_), *facts = recorded.facts
    new = NewRound(
        task_id=layout.task_id,
        number=number,
        plan_id=plan_id,
        chord_id=chord_id(layout.task_id, round_number=number),
        plan=plan,
        phase=(Phase.EXECUTING if kind == "task.planned" else Phase.REPAIRING).value,
        rows=work,
    )
    queued = queued_events(messages(work))
    return new, [(kind, {"plan_id": plan_id, "round": number, **payload}), *facts, *queued]
