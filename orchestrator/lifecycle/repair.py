"""Decides whether a repair can change a rejected round, and which steps it runs again; does no I/O."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from orchestrator.lifecycle.round_rows import EarlierLoop
from orchestrator.memory.steps import StepOutcome
from orchestrator.models.arm_capability import find_action
from orchestrator.models.errors import (
    ApprovalExpired,
    ApprovalRejected,
    NeedsReplan,
    OutcomeUnknown,
)
from orchestrator.models.execution_state import StepState
from orchestrator.models.model_errors import NoModel, ReplayMiss
from orchestrator.models.plan import Plan, PlanStep
from orchestrator.models.verdict import Verdict
from orchestrator.planner.check import descendants

# a person has said no, or nobody answered; another plan is needed; there is no model, or no answer to give again: it
# would be the same again
_FINAL = {
    ApprovalRejected.code,
    ApprovalExpired.code,
    OutcomeUnknown.code,
    NeedsReplan.code,
    NoModel.code,
    ReplayMiss.code,
}


@dataclass(frozen=True)
class Repair:
    """The steps that the next round runs again, and by name the ids of the rows whose results it keeps.

    `repeats` are those of the former whose action must not run twice and took effect, or may have: they ask first.
    """

    reruns: frozenset[str]
    kept: Mapping[str, str]
    repeats: frozenset[str] = frozenset()


@dataclass(frozen=True)
class NoRepair:
    """Why the round can't be repaired."""

    reason: str


def plan_repair(
    plan: Plan, verdict: Verdict, outcomes: Sequence[StepOutcome], *, repairs_done: int, max_repairs: int
) -> Repair | NoRepair:
    """Return the steps at fault and their descendants to run again, if that can change their results.

    A step's result can change when its action is not deterministic, when it has repair inputs that were not used yet,
    or when the result of an ancestor can change. All other steps keep their results.
    """
    if not verdict.faulty:
        return NoRepair("no step is at fault")
    if repairs_done >= max_repairs:
        return NoRepair(f"the budget's {max_repairs} repair rounds are used up")
    names = {step.id for step in plan.steps}
    # a task that was planned again has rows of steps that this plan lacks
    latest = {row.name: row for row in outcomes if row.name in names}
    changeable = {
        step.id for step in plan.steps if step.id in verdict.faulty and _can_change(step, latest[step.id])
    }
    reruns = changeable | descendants(plan, changeable)
    if reruns:
        # what its `when` skipped has no row that a step of the next round could wait for
        reruns |= {row.name for row in outcomes if row.is_skipped} & {step.id for step in plan.steps}
    fixed = sorted(set(verdict.faulty) - reruns)
    if fixed:
        return NoRepair("running again would not change these steps: " + ", ".join(fixed))
    gone = sorted({latest[name].arm for name in reruns if find_action(latest[name].offer) is None})
    if gone:
        return NoRepair("these arms are gone since, or no longer do what they did: " + ", ".join(gone))
    kept = {
        name: row.id for name, row in latest.items() if row.state is StepState.DONE and name not in reruns
    }
    if not any(set(step.depends_on) - reruns <= set(kept) and not set(step.depends_on) & reruns
               for step in plan.steps if step.id in reruns):  # fmt: skip
        return NoRepair("no step of a repair could start, because the steps before it did not finish")
    repeats = frozenset(name for name, row in latest.items() if row.took_effect and name in reruns)
    return Repair(frozenset(reruns), kept, repeats)


def earlier_loops(
    plan: Plan,
    reruns: Collection[str],
    verdict: Verdict,
    outcomes: Sequence[StepOutcome],
    *,
    task_id: str,
    number: int,
) -> dict[str, EarlierLoop]:
    """Return for each step with for_each that runs again which of its items of round `number` do.

    Items that failed do, and those that do not meet a criterion of their action. Where the fault is of the whole output
    and no item's, all of them do.
    """
    latest = {row.name: row for row in outcomes}
    return {
        step.id: EarlierLoop(task_id, number, _items_again(step, verdict, latest.get(step.id)))
        for step in plan.steps
        if step.for_each is not None and step.id in reruns
    }


def _items_again(step: PlanStep, verdict: Verdict, outcome: StepOutcome | None) -> Sequence[int] | None:
    found = [
        index
        for finding in verdict.findings
        if finding.step == step.id and finding.met is False
        for evidence in finding.evidence
        for index in evidence.get("items", ())
    ]
    if step.id not in verdict.faulty or found or (outcome is not None and outcome.failed_items):
        return found
    return None


def _can_change(step: PlanStep, outcome: StepOutcome) -> bool:
    error = outcome.result.error if outcome.result is not None else None
    codes = outcome.failed_items if error is None else {error["code"]}
    if codes and codes <= _FINAL:
        return False
    action = find_action(outcome.offer)
    if action is not None and not action.deterministic:
        return True
    return step.repair_inputs is not None and not outcome.was_repaired
