"""Decides by what a task's plan did whether its result may answer for others: pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.cache.key import control_of
from orchestrator.models.arm_capability import ARMS
from orchestrator.models.execution_state import StepState
from orchestrator.models.plan import Plan
from orchestrator.models.task_contract import Contract
from orchestrator.models.verdict import Decision, Verdict
from orchestrator.safety import scan

LEAST_COVERAGE = 0.8
_MAX_SCANNED_CHARACTERS = 256 * 1024


@dataclass(frozen=True)
class Executed:
    """An action that ran for the task, in whatever round, and how its latest row of that step ended.

    `age_seconds` is how old its result was when it was taken over from an earlier step.
    """

    arm: str
    action: str
    state: StepState
    age_seconds: float = 0.0


@dataclass(frozen=True)
class Admission:
    """What a completed task's result may do: complete its followers, and answer later tasks for `fresh_seconds`.

    `reason` says why it may not.
    """

    is_shared: bool
    fresh_seconds: int = 0
    reason: str | None = None


def may_answer(actions: Sequence[tuple[str, str]]) -> bool:
    """Tell whether results of these (arm, action) pairs hold for others: no effects, not of the moment."""
    return _max_age([Executed(arm, action, StepState.DONE) for arm, action in actions], ceiling=1) > 0


def admit(
    contract: Contract, plan: Plan, verdict: Verdict, *, executed: Sequence[Executed], ttl_seconds: int
) -> Admission:
    """Judge a completed task: a result is kept only if it is right, whole, without secrets, and free of effects."""
    actions = [(item.arm, item.action) for item in executed]
    fresh_seconds = _max_age(executed, ceiling=ttl_seconds)
    if not may_answer(actions):
        return Admission(
            is_shared=False, reason="an action has effects, or its result holds for the moment only"
        )
    if reason := _reservation(contract, plan, verdict, executed):
        return Admission(is_shared=True, reason=reason)
    return Admission(is_shared=True, fresh_seconds=fresh_seconds)


def _reservation(
    contract: Contract, plan: Plan, verdict: Verdict, executed: Sequence[Executed]
) -> str | None:
    """Say why a result that followers may have is not to be kept."""
    if not control_of(contract).stores:
        return "the client does not want it kept"
    if verdict.decision is not Decision.PASSED:
        return f"the judge's word is {verdict.decision.value}"
    if verdict.coverage < LEAST_COVERAGE:
        return f"the judge checked less than {LEAST_COVERAGE} of the criteria"
    if any(item.state is not StepState.DONE for item in executed):
        return "a step did not finish"
    if plan.provenance.get("model_failed"):
        return "the plan was a fallback"
    return _too_much_said(verdict)


def _too_much_said(verdict: Verdict) -> str | None:
    text = f"{verdict.output}\n{verdict.output_value}"
    if len(text) > _MAX_SCANNED_CHARACTERS:
        return "the result is too large"
    if any(finding.kind.startswith("secret.") for finding in scan(text)):
        return "the result holds a secret"
    return None


def _max_age(executed: Sequence[Executed], *, ceiling: int) -> int:
    ages = [ceiling]
    for item in executed:
        action = ARMS[item.arm].actions.get(item.action)
        if action is None or action.effects not in ("none", "read"):
            return 0
        if action.max_age_seconds is not None:
            ages.append(max(0, int(action.max_age_seconds - item.age_seconds)))
    return min(ages)
