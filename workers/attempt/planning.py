"""Makes a task's plan and routes its steps: the client's own plan, a model's, or a recipe's."""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

import structlog
from sqlalchemy import Engine

from orchestrator.bootstrap import WorkerProcess
from orchestrator.chord.database import statement
from orchestrator.lifecycle.reuse import Source, source_of
from orchestrator.llm.prompt import Message
from orchestrator.memory import pools, rounds
from orchestrator.memory.steps import Claim
from orchestrator.models.arm_capability import ARMS
from orchestrator.models.errors import BudgetExceeded, InvalidPlan, MustWait, StepError, Unplannable
from orchestrator.models.model_errors import ModelRefused
from orchestrator.models.plan import Plan
from orchestrator.models.task_contract import Attachment, Contract
from orchestrator.planner.check import check_plan
from orchestrator.planner.prompted import PLAN_SCHEMA, Ask, Proposal, plan_by_model
from orchestrator.planner.recipe import plan_by_recipe
from orchestrator.router import Candidate, Route, route
from workers.arms.base import models_used
from workers.attempt import attempt
from workers.attempt.model import ClaimModel, OpenModels

log = structlog.get_logger(__name__)

_PLAN_TOKENS = 1_200


def make_plan(
    process: WorkerProcess,
    claim: Claim,
    *,
    deadline: float,
    is_stopped: Callable[[], bool],
    open_models: OpenModels | None,
) -> Plan:
    """Return the plan for the claimed task: the client's, else a model's where one is configured, else a recipe's.

    A retried task uses the earlier task's plan, which is checked again: this release may have other rules.
    Raises Unplannable when no recipe fits, InvalidPlan when the plan can't run, and what the models raise.
    """
    started = time.monotonic()
    contract = Contract.from_record(claim.contract)
    if source := source_of(claim.spec):
        return _earlier_plan(process, source, contract)
    if contract.plan is not None:
        return check_plan(contract.plan, attachments=contract.attachments)
    with statement(process.engine) as conn:
        attachments = attempt.described(conn, claim.tenant, contract)
    if open_models is None:
        return plan_by_recipe(contract, attachments)
    model = ClaimModel(open_models, process.engine, claim, deadline, is_stopped)
    try:
        return plan_by_model(_asker(model), contract, attachments)
    except (MustWait, BudgetExceeded, ModelRefused):
        raise
    except (StepError, InvalidPlan) as failure:
        error = {"retryable": failure.retryable, "details": failure.details}
        if attempt.may_retry(claim, error, seconds=time.monotonic() - started):
            raise
        return _plan_without(failure, contract, attachments)


def _earlier_plan(process: WorkerProcess, source: Source, contract: Contract) -> Plan:
    with statement(process.engine) as conn:
        plan = rounds.read(conn, source.task_id, number=source.round).plan
    return check_plan(
        {"steps": plan.to_record()["steps"]},
        attachments=contract.attachments,
        mode=plan.mode,
        rationale=plan.rationale,
        provenance=plan.provenance,
    )


def _asker(model: ClaimModel) -> Ask:
    def ask(messages: Sequence[Message], *, purpose: str) -> Proposal:
        completion = model.ask(
            messages,
            PLAN_SCHEMA,
            max_output_tokens=_PLAN_TOKENS,
            purpose=purpose,
        )
        return Proposal(completion.value, completion.text, models_used([completion])[0])

    return ask


def _plan_without(
    failure: StepError | InvalidPlan, contract: Contract, attachments: Sequence[Attachment]
) -> Plan:
    """Return a recipe's plan where the models gave none; raises their failure when no recipe fits either."""
    try:
        plan = plan_by_recipe(contract, attachments)
    except Unplannable:
        raise failure from None
    log.warning("planning.without_model", code=failure.code)
    return replace(
        plan,
        rationale=f"{plan.rationale} The models gave no plan: {failure.code}.",
        provenance={**plan.provenance, "model_failed": failure.code},
    )


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
