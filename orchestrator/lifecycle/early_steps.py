"""Decides what becomes of early steps, which began before their plan was complete, when the plan is adopted."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy import Connection

from orchestrator.lifecycle.event_payloads import started_events
from orchestrator.lifecycle.retry import source_of
from orchestrator.memory import early_steps, events
from orchestrator.memory.claims import Claim
from orchestrator.memory.early_steps import EarlyStep
from orchestrator.memory.steps import Fenced
from orchestrator.models import record
from orchestrator.models.execution_state import StepState
from orchestrator.models.plan import Plan, PlanStep

# members of a step that do not change what its first run does
_WITHOUT_EFFECT: Final = frozenset(
    [
        "arm",
        "action",
        "offers",
        "excluded",
        "description",
        "capabilities",
        "acceptance_criteria",
        "repair_inputs",
        "optional",
        "required",
        "estimate",
    ]
)
_TAKEN: Final = (StepState.HELD, StepState.QUEUED, StepState.RUNNING, StepState.DONE, StepState.FAILED)


@dataclass(frozen=True)
class SettledSteps:
    """The early steps that are the plan's, by name; the names of the others, and those of them that were open."""

    taken: Mapping[str, EarlyStep] = field(default_factory=dict)
    dropped: Sequence[str] = ()
    stopped: Sequence[Fenced] = ()

    def to_record(self) -> dict[str, str]:
        """Return what became of each early step: the state in which it was taken, or `dropped`."""
        return {name: step.state.value for name, step in self.taken.items()} | dict.fromkeys(
            sorted(set(self.dropped) - self.taken.keys()), "dropped"
        )


NO_EARLY_STEPS: Final = SettledSteps()


def may_have_begun(claim: Claim) -> bool:
    """Return whether a task whose planning is claimed may have early steps: a model makes its first plan."""
    is_models = claim.contract.get("plan") is None and claim.contract.get("recipe") is None
    return is_models and claim.round == 0 and source_of(claim.spec) is None


def settle(conn: Connection, claim: Claim, plan: Plan) -> SettledSteps:
    """Cancel the task's early steps that the plan does not have as they began; return all.

    The caller holds the task's lock, and makes those that are taken members of the round.
    """
    if not may_have_begun(claim):
        return NO_EARLY_STEPS
    found = early_steps.lock(conn, claim.task_id)
    if not found:
        return NO_EARLY_STEPS
    steps = {step.id: step for step in plan.steps}
    taken = {
        early.name: early for early in found if early.name in steps and _is_same(steps[early.name], early)
    }
    others = [early for early in found if early.name not in taken]
    stopped = early_steps.cancel(conn, [early.id for early in others if early.is_open])
    if stopped:
        facts = [*started_events(stopped), *map(_cancelled_event, stopped)]
        events.write(conn, claim.task_id, facts, round_number=0)
    return SettledSteps(taken, [early.name for early in others], stopped)


def _is_same(step: PlanStep, early: EarlyStep) -> bool:
    """Tell whether an early step did, or does, what the plan's step says, with nothing to wait for."""
    if early.state not in _TAKEN or step.depends_on or early.offer not in step.candidates():
        return False
    wanted: dict[str, Any] = json.loads(record.encode(step.to_record()))
    return all(early.spec.get(name) == value for name, value in wanted.items() if name not in _WITHOUT_EFFECT)


def _cancelled_event(row: Fenced) -> tuple[str, dict[str, Any]]:
    error = {
        "code": "cancelled",
        "message": "The step began early, and the plan does not have it as it began.",
    }
    fact = {"step": row.name, "step_id": row.id, "round": row.round, "arm": row.arm, "attempt": row.attempt}
    return "step.failed", {**fact, "was": row.former_state, "error": error}
