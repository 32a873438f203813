"""Makes a task's plan and routes its steps: the client's own plan, or a recipe's."""

import time
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from sqlalchemy import Engine

from orchestrator.arm_capability import ARMS
from orchestrator.bootstrap import WorkerProcess
from orchestrator.execution_state import Plan
from orchestrator.planner.check import check_plan
from orchestrator.planner.recipe import plan_by_recipe
from orchestrator.router import Candidate, Route, route
from orchestrator.store import pools
from orchestrator.store.engine import statement
from orchestrator.store.steps import Claim
from orchestrator.task_contract import Contract
from workers import attempt


def make_plan(process: WorkerProcess, claim: Claim) -> Plan:
    """Return the plan for the claimed task.

    Raises Unplannable when no recipe fits, InvalidPlan when the client's plan can't run.
    """
    contract = Contract.from_record(claim.contract)
    if contract.plan is not None:
        return check_plan(contract.plan, attachments=contract.attachments)
    with statement(process.engine) as conn:
        attachments = attempt.described(conn, claim.tenant, contract)
    return plan_by_recipe(contract, attachments)


def choose_arms(process: WorkerProcess, plan: Plan) -> dict[str, dict[str, Any]]:
    """Return {step: routing decision}, each with its `arm`, score, reason and all candidates' scores.

    The arms' statistics are at most a second old: a burst of plans asks for them once.
    """
    candidates = _candidates(process.engine, int(time.monotonic()))
    return {step.id: _decision(route(step, candidates)) for step in plan.steps}


@lru_cache(maxsize=1)
def _candidates(engine: Engine, _second: int) -> Sequence[Candidate]:
    with statement(engine) as conn:
        statistics = pools.arm_statistics(conn)
    return [
        Candidate(
            arm=arm.arm_id,
            capabilities=arm.capabilities,
            cost_tier=arm.cost_tier,
            available=statistics[arm.arm_id].workers > 0
            and statistics[arm.arm_id].declared_status != "unavailable",
            successes=statistics[arm.arm_id].successes,
            attempts=statistics[arm.arm_id].attempts,
            load=min(1.0, statistics[arm.arm_id].busy / max(1, statistics[arm.arm_id].concurrency)),
        )
        for arm in ARMS.values()
        if arm.in_plans
    ]


def _decision(chosen: Route) -> dict[str, Any]:
    return {"arm": chosen.arm, "score": chosen.score, "reason": chosen.reason, "candidates": chosen.scores}
