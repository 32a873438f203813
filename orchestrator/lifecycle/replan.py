"""Decides whether another plan is made after a rejected round, and what of the earlier work it keeps; does no I/O."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from orchestrator.lifecycle.retry import RoundReuse
from orchestrator.memory.rounds import RoundRecord
from orchestrator.memory.steps import StepMessage, StepOutcome
from orchestrator.memory.tasks import LockedTask
from orchestrator.models.approval_policy import MODEL_MODE
from orchestrator.models.arm_capability import ARMS, find_action, queue_of
from orchestrator.models.errors import ApprovalExpired, ApprovalRejected, OutcomeUnknown
from orchestrator.models.execution_state import PLAN_STEP, StepKind, StepState
from orchestrator.models.ids import step_id
from orchestrator.models.plan import Offer, Plan
from orchestrator.models.record import known_members
from orchestrator.models.task_contract import Budget, Priority
from orchestrator.models.trace_context import Judgement
from orchestrator.models.verdict import Verdict
from orchestrator.planner.limits import PlanLimits, rights_of, unchanged

PLANNER_ARM = "planner"
_MEMBER = "replan"
_DECIDED = frozenset({ApprovalRejected.code, ApprovalExpired.code, OutcomeUnknown.code})


@dataclass(frozen=True)
class ReplanOrder:
    """What a planner's row says of another plan: why, and the arms and the effects that the first plan was allowed.

    `gated` are the actions, as `arm.action`, that asked a person in any earlier plan: they always ask.
    """

    reason: str
    arms: Sequence[str]
    effects: str
    gated: Sequence[str] = ()

    def to_spec(self) -> dict[str, Any]:
        """Return the spec of the planner's row."""
        return {_MEMBER: asdict(self)}

    def limits(self, earlier: Plan, outcomes: Sequence[StepOutcome]) -> PlanLimits:
        """Return what the new plan may use; `earlier` is the plan that it replaces."""
        done = frozenset(row.name for row in outcomes if row.state is StepState.DONE)
        return PlanLimits(frozenset(self.arms), self.effects, earlier, done)


@dataclass(frozen=True)
class NoReplan:
    """Why no other plan is made."""

    reason: str


def order_of(plan_spec: Mapping[str, Any]) -> ReplanOrder | None:
    """Return what a plan row's spec says of another plan; None for the first plan of a task."""
    return ReplanOrder(**known_members(ReplanOrder, plan_spec[_MEMBER])) if _MEMBER in plan_spec else None


def plan_replan(
    history: Sequence[RoundRecord],
    verdict: Verdict,
    outcomes: Sequence[StepOutcome],
    *,
    budget: Budget,
    tokens_left: int,
    why: str,
) -> ReplanOrder | NoReplan:
    """Return the order for another plan after the last round of `history`, which a repair can't mend (`why`)."""
    plan = history[-1].plan
    if plan.mode != MODEL_MODE:
        author = "the client" if plan.mode == "client" else "a recipe"
        return NoReplan(f"only a model's plan is replaced, and this one is by {author}")
    if plans_of(history) > budget.max_replans:
        return NoReplan(f"the budget's max_replans ({budget.max_replans}) allows no other plan")
    if decided := sorted(row.name for row in outcomes if row.name in verdict.faulty and _is_decided(row)):
        return NoReplan(f"another plan can't change what a person decides: {', '.join(decided)}")
    if tokens_left <= 0:
        return NoReplan("no tokens are left for another plan")
    arms, effects = rights_of(history[0].plan)
    gated = {
        str(offer)
        for earlier in history
        for step in earlier.plan.steps
        if step.approval is not None
        for offer in step.candidates()
    }
    return ReplanOrder(why, sorted(arms), effects, sorted(gated))


def plans_of(history: Sequence[RoundRecord]) -> int:
    """Return how many plans the task had; the other rounds were repairs."""
    return len({earlier.plan_id for earlier in history})


def planner_message(task: LockedTask, order: ReplanOrder, judged: Judgement) -> StepMessage:
    """Return the message that has another plan made after the task's current round, which was rejected."""
    return StepMessage(
        id=step_id(task.id, round_number=task.round, name=PLAN_STEP),
        task_id=task.id,
        name=PLAN_STEP,
        kind=StepKind.PLAN.value,
        arm=PLANNER_ARM,
        queue=queue_of(PLANNER_ARM),
        priority=Priority(task.priority).broker_priority,
        chord_id=None,
        round=task.round,
        spec={**order.to_spec(), **judged.to_spec()},
    )


def reuse_after_replan(
    plan: Plan,
    earlier: RoundRecord,
    outcomes: Sequence[StepOutcome],
    *,
    routes: Mapping[str, Mapping[str, Any]],
    acted: Collection[Offer],
) -> RoundReuse:
    """Return which steps of a new plan run, and whose results are kept: those done before that do the same work.

    A step at fault is kept only if it can't give another result, and a step that its `when` skipped is asked again, but
    not those behind it. `acted` are the actions that must not run twice and
    took effect in any round: a step that runs one of them asks a person, whatever its name and its inputs are.
    """
    faulty = earlier.verdict.faulty if earlier.verdict else {}
    latest = {row.name: row for row in outcomes}
    same = unchanged(plan.steps, earlier.plan.steps, among=latest)
    done = {name for name in same if latest[name].state is StepState.DONE}
    skipped = {name for name in same if latest[name].is_skipped}
    mended = {
        name for name in done & faulty.keys() if latest[name].failed_items or _may_differ(latest[name].offer)
    }
    kept = unchanged(plan.steps, earlier.plan.steps, among=(done - mended) | skipped) - skipped
    reruns = frozenset(step.id for step in plan.steps) - kept
    repeats = {
        name
        for name in reruns
        if _runs_once(offer := Offer(routes[name]["arm"], routes[name]["action"]))
        and (offer in acted or (name in latest and latest[name].took_effect))
    }
    return RoundReuse(
        reruns,
        {name: latest[name] for name in kept},
        frozenset(repeats),
        {name: faulty[name] for name in reruns & same & faulty.keys()},
        again=frozenset(name for name in mended if not latest[name].failed_items),
    )


def _is_decided(row: StepOutcome) -> bool:
    error = row.result.error if row.result is not None else None
    return bool((row.failed_items if error is None else {error["code"]}) & _DECIDED)


def _may_differ(offer: Offer) -> bool:
    """Tell whether running an action again may give another result, and does no harm."""
    action = find_action(offer)
    return action is not None and not action.deterministic and not action.runs_once


def _runs_once(offer: Offer) -> bool:
    return ARMS[offer.arm].actions[offer.action].runs_once
