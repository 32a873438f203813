"""Chooses the arm for a step: a hard filter, then a score; all parts of the score go into the trace."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from orchestrator.models.arm_capability import ARMS
from orchestrator.models.plan import PlanStep

_CAPABILITY, _SUCCESS, _AVAILABILITY, _COST = 0.4, 0.3, 0.2, 0.1
# an untried arm counts as 9 successes in 10 attempts; real attempts are added to these
_PRIOR_SUCCESSES, _PRIOR_ATTEMPTS = 9, 10


@dataclass(frozen=True)
class ArmCandidate:
    """An arm's present state: `load` is the share of its slots in use (0 to 1); the counts cover the last 7 days."""

    arm: str
    capabilities: tuple[str, ...]
    cost_tier: int
    available: bool
    successes: int = 0
    attempts: int = 0
    load: float = 0.0


@dataclass(frozen=True)
class Route:
    """The arm chosen for a step and why; `scores` has each candidate's score parts, or why it was excluded."""

    arm: str
    score: float
    reason: str
    scores: dict[str, dict[str, float | str]] = field(default_factory=dict)


def route(step: PlanStep, candidates: Sequence[ArmCandidate]) -> Route:
    """Return the best-scored arm that has the step's action, offers all its capabilities and is available.

    If there is none, the step is routed to the arm that its plan names and waits in that arm's queue.
    """
    required = step.capabilities or ARMS[step.arm].actions[step.action].capabilities
    scores = {candidate.arm: _score(candidate, step, required) for candidate in candidates}
    totals = {arm: parts["total"] for arm, parts in scores.items() if isinstance(parts.get("total"), float)}
    if not totals:
        return Route(step.arm, 0.0, f"waiting for arm {step.arm}: no candidate is available", scores)
    best = min(totals, key=lambda arm: (-float(totals[arm]), arm != step.arm, arm))
    return Route(best, float(totals[best]), _reason(best, totals, required), scores)


def _score(candidate: ArmCandidate, step: PlanStep, required: Sequence[str]) -> dict[str, float | str]:
    if excluded := _excluded(candidate, step, required):
        return {"excluded": excluded}
    success = (candidate.successes + _PRIOR_SUCCESSES) / (candidate.attempts + _PRIOR_ATTEMPTS)
    parts = {
        "capability": _CAPABILITY * len(set(required) & set(candidate.capabilities)) / len(set(required)),
        "success": _SUCCESS * success,
        "availability": _AVAILABILITY * (1 - min(max(candidate.load, 0.0), 1.0)),
        "cost": _COST * (1 - (candidate.cost_tier - 1) / 4),
    }
    return {**{name: round(part, 4) for name, part in parts.items()}, "total": round(sum(parts.values()), 4)}


def _excluded(candidate: ArmCandidate, step: PlanStep, required: Sequence[str]) -> str | None:
    if candidate.arm not in ARMS or step.action not in ARMS[candidate.arm].actions:
        return f"has no action {step.action}"
    missing = sorted(set(required) - set(candidate.capabilities))
    if missing:
        return f"does not offer {', '.join(missing)}"
    return None if candidate.available else "no live worker"


def _reason(best: str, totals: dict[str, float | str], required: Sequence[str]) -> str:
    others = len(totals) - 1
    against = f", best of {others + 1}" if others else ", the only one that can"
    return f"{best} offers {', '.join(required)}{against} (score {float(totals[best]):.2f})"
