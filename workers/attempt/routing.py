"""Chooses the arm of each step of a plan, by the arms' statistics."""

from collections.abc import Mapping
from typing import Any

from orchestrator.bootstrap import WorkerProcess
from orchestrator.memory.pools import ArmStatistics
from orchestrator.models.arm_capability import ARMS
from orchestrator.models.plan import Plan
from orchestrator.router import ArmState, Route, Router

Routes = Mapping[str, Mapping[str, Any]]
"""{step: routing decision}, each with its `arm`, `action`, score, reason and all candidates' scores."""


def choose_arms(process: WorkerProcess, plan: Plan) -> dict[str, dict[str, Any]]:
    """Return the routing decision of each step."""
    arms = {offer.arm for step in plan.steps for offer in step.candidates()}
    statistics = process.statistics_of(arms)
    router = Router({arm: _state(arm, statistics[arm]) for arm in arms if arm in statistics})
    return {step.id: _decision(router.route(step)) for step in plan.steps}


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


def _decision(chosen: Route) -> dict[str, Any]:
    return {
        **chosen.offer._asdict(),
        "score": chosen.score,
        "reason": chosen.reason,
        "candidates": chosen.scores,
    }
