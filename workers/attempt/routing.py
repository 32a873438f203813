"""Chooses the arm of each step of a plan, by the arms' statistics."""

from collections.abc import Mapping
from typing import Any

from orchestrator.bootstrap import WorkerProcess
from orchestrator.models.plan import Plan
from orchestrator.router import Route, arms_of, route_all

Routes = Mapping[str, Mapping[str, Any]]
"""{step: routing decision}, each with its `arm`, `action`, score, reason and all candidates' scores."""


def choose_arms(process: WorkerProcess, plan: Plan) -> dict[str, dict[str, Any]]:
    """Return the routing decision of each step."""
    routes = route_all(plan, process.statistics_of(arms_of(plan)))
    return {name: _decision(route) for name, route in routes.items()}


def _decision(chosen: Route) -> dict[str, Any]:
    return {
        **chosen.offer._asdict(),
        "score": chosen.score,
        "reason": chosen.reason,
        "candidates": chosen.scores,
    }
