"""Chooses which arm's action does a step: a hard filter, then a score; all its parts go into the trace."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from orchestrator.memory.pools import ArmStatistics
from orchestrator.models.arm_capability import ARMS
from orchestrator.models.plan import Offer, Plan, PlanStep

# OctoLLM's weights were 0.4 for matching capabilities and 0.3, 0.2, 0.1 for these; whoever passes the filter matches
_SUCCESS, _AVAILABILITY, _COST, _SPEED = 0.5, 0.3, 0.1, 0.1
# an untried arm counts as 9 successes in 10 attempts; real attempts are added to these
_PRIOR_SUCCESSES, _PRIOR_ATTEMPTS = 9, 10
_MAX_COST_TIER = 5


@dataclass(frozen=True)
class ArmState:
    """An arm's present state: `load` counts its running and waiting steps, `slots` those that it can run at once.

    `unavailable` is the reason why it gets no steps, None if it does. The counts and the `latency_ms` of an attempt,
    None if there was none, cover the last 7 days and all its actions. `cost_tier` is 1 (free) to 5.
    """

    arm: str
    cost_tier: int
    unavailable: str | None = None
    successes: int = 0
    attempts: int = 0
    load: int = 0
    slots: int = 1
    latency_ms: float | None = None


@dataclass(frozen=True)
class Route:
    """The arm and action chosen for a step and why; `scores` has each candidate's parts, or why it was excluded."""

    offer: Offer
    score: float
    reason: str
    scores: dict[str, dict[str, float | str]] = field(default_factory=dict)


def arms_of(plan: Plan) -> set[str]:
    """Return the arms that can do a step of the plan."""
    return {offer.arm for step in plan.steps for offer in step.candidates()}


def route_all(plan: Plan, statistics: Mapping[str, ArmStatistics]) -> dict[str, Route]:
    """Return the route of each step, by the statistics of the plan's arms; an arm without any is unavailable."""
    router = Router({arm: _state(arm, statistics[arm]) for arm in arms_of(plan) if arm in statistics})
    return {step.id: router.route(step) for step in plan.steps}


def _state(arm: str, found: ArmStatistics) -> ArmState:
    is_idle = ARMS[arm].has_workers and found.workers == 0
    return ArmState(
        arm,
        ARMS[arm].cost_tier,
        unavailable=found.outage or ("no live worker" if is_idle else None),
        successes=found.successes,
        attempts=found.attempts,
        load=found.busy + found.queued,
        slots=found.concurrency,
        latency_ms=found.average_latency_ms,
    )


class Router:
    """Routes the steps of one plan by the states of the arms, {arm id: state}.

    It counts what it gave to an arm, so that steps that start together are spread over the arms that can do them.
    """

    def __init__(self, states: Mapping[str, ArmState]) -> None:
        self._states = states
        self._given = Counter[tuple[str, tuple[str, ...]]]()

    def route(self, step: PlanStep) -> Route:
        """Return the best-scored of the step's candidates whose arm is available; of equals the preferred one.

        If none is available, the step waits for the arm that its plan prefers.
        """
        candidates = step.candidates()
        excluded = dict(step.excluded)
        able: dict[Offer, ArmState] = {}
        for offer in candidates:
            state = self._states.get(offer.arm)
            if state is None or state.unavailable:
                excluded[str(offer)] = state.unavailable or "" if state else "no live worker"
            else:
                able[offer] = state
        scores = self._scores(able, step)
        known = _known(scores, excluded)
        if not scores:
            waits = f"waiting for arm {step.arm}: no candidate is available"
            return Route(step.preferred, 0.0, waits, known)
        best = max(able, key=lambda offer: scores[offer]["total"])
        self._given[best.arm, step.depends_on] += 1
        return Route(best, scores[best]["total"], _reason(best, scores), known)

    def _scores(self, able: Mapping[Offer, ArmState], step: PlanStep) -> dict[Offer, dict[str, float]]:
        fastest = min((state.latency_ms for state in able.values() if state.latency_ms), default=None)
        return {
            offer: _score(state, self._given[offer.arm, step.depends_on], fastest)
            for offer, state in able.items()
        }


def _score(state: ArmState, given: int, fastest: float | None) -> dict[str, float]:
    """Return the parts of an arm's score and their total, from 0 to 1; `fastest` is the least latency of all."""
    parts = {
        "success": _SUCCESS * (state.successes + _PRIOR_SUCCESSES) / (state.attempts + _PRIOR_ATTEMPTS),
        "availability": _AVAILABILITY / (1 + (state.load + given) / max(1, state.slots)),
        "cost": _COST * (_MAX_COST_TIER - state.cost_tier) / (_MAX_COST_TIER - 1),
        "speed": _SPEED * (fastest / state.latency_ms if fastest and state.latency_ms else 1.0),
    }
    return {**{name: round(part, 4) for name, part in parts.items()}, "total": round(sum(parts.values()), 4)}


def _known(
    scores: Mapping[Offer, Mapping[str, float]], excluded: Mapping[str, str]
) -> dict[str, dict[str, float | str]]:
    known: dict[str, dict[str, float | str]] = {str(offer): {**parts} for offer, parts in scores.items()}
    return {**known, **{name: {"excluded": reason} for name, reason in excluded.items()}}


def _reason(best: Offer, scores: Mapping[Offer, Mapping[str, float]]) -> str:
    against = f"the best of {len(scores)}" if len(scores) > 1 else "the only one that can"
    return f"{best} is {against} (score {scores[best]['total']:.2f})"
