"""Owns the admission policy of the cache: which completed tasks may share their result, and for how long. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from orchestrator.cache.exact import control_of
from orchestrator.models.arm_capability import find_action
from orchestrator.models.execution_state import StepState
from orchestrator.models.plan import Offer, Plan
from orchestrator.models.task_contract import Contract
from orchestrator.models.verdict import Decision, Verdict
from orchestrator.safety import scan

MIN_COVERAGE = 0.8
_MAX_SCANNED_CHARACTERS = 256 * 1024


@dataclass(frozen=True)
class ExecutedAction:
    """An action that ran for a task in any round, with the state of the latest row of its step.

    `age_seconds` is the age of its result when it came from the step memo, else 0.
    """

    arm: str
    action: str
    state: StepState
    age_seconds: float = 0.0


@dataclass(frozen=True)
class Admission:
    """What a completed task's result may do.

    `is_shared`: it completes the task's followers. `fresh_seconds`: how long it may be served to later tasks; with 0,
    `reason` says why not.
    """

    is_shared: bool
    fresh_seconds: int = 0
    reason: str | None = None


def are_cacheable(offers: Iterable[Offer]) -> bool:
    """Return whether results of these actions may be reused: no side effects, and a max age above 0."""
    executed = [ExecutedAction(offer.arm, offer.action, StepState.DONE) for offer in offers]
    return _fresh_seconds(executed, ttl_seconds=1) > 0


def admit(
    contract: Contract, plan: Plan, verdict: Verdict, *, executed: Sequence[ExecutedAction], ttl_seconds: int
) -> Admission:
    """Decide about a completed task: store only results that are correct, complete, secret-free and without effects."""
    if any(step.approval is not None for step in plan.steps):
        return Admission(is_shared=False, reason="a person decided about a step")
    fresh_seconds = _fresh_seconds(executed, ttl_seconds=ttl_seconds)
    if not are_cacheable(Offer(item.arm, item.action) for item in executed):
        return Admission(
            is_shared=False, reason="an action has side effects, or its result is valid for the moment only"
        )
    if reason := _reason_not_to_store(contract, plan, verdict, executed):
        return Admission(is_shared=True, reason=reason)
    return Admission(is_shared=True, fresh_seconds=fresh_seconds)


def _reason_not_to_store(
    contract: Contract, plan: Plan, verdict: Verdict, executed: Sequence[ExecutedAction]
) -> str | None:
    """Return why a result that completes followers is not stored for later tasks."""
    if not control_of(contract).stores:
        return "the client forbids storing it"
    if verdict.decision is not Decision.PASSED:
        return f"the verdict is {verdict.decision.value}"
    if verdict.coverage < MIN_COVERAGE:
        return f"the judge checked less than {MIN_COVERAGE} of the criteria"
    if any(item.state is not StepState.DONE for item in executed):
        return "a step did not finish"
    if plan.provenance.get("model_failed"):
        return "the plan is a fallback"
    return _reason_in_output(verdict)


def _reason_in_output(verdict: Verdict) -> str | None:
    text = f"{verdict.output}\n{verdict.output_value}"
    if len(text) > _MAX_SCANNED_CHARACTERS:
        return "the result is too large"
    if any(finding.kind.startswith("secret.") for finding in scan(text)):
        return "the result contains a secret"
    return None


def _fresh_seconds(executed: Sequence[ExecutedAction], *, ttl_seconds: int) -> int:
    """Return the TTL, or the shortest remaining max age of an action; 0 if an action has side effects."""
    limits = [ttl_seconds]
    for item in executed:
        action = find_action(Offer(item.arm, item.action))
        if action is None or action.effects not in ("none", "read"):
            return 0
        if action.max_age_seconds is not None:
            limits.append(max(0, int(action.max_age_seconds - item.age_seconds)))
    return min(limits)
