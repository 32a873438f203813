"""Plans a task: reuses a cached result, or makes a plan and routes its steps."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import structlog

from orchestrator.cache.exact import control_of
from orchestrator.chord.database import statement
from orchestrator.lifecycle.early_steps import may_have_begun
from orchestrator.lifecycle.fork import forked_plan
from orchestrator.lifecycle.replan import order_of
from orchestrator.lifecycle.retry import RetrySource, source_of
from orchestrator.llm.prompt import Message
from orchestrator.memory import planned_goals, rounds
from orchestrator.memory.planned_goals import EarlierPlan, Goal
from orchestrator.models.errors import BudgetExceeded, InvalidPlan, MustWait, StepError, Unplannable
from orchestrator.models.fork import is_replay
from orchestrator.models.model_errors import ModelRefused
from orchestrator.models.model_work import Work
from orchestrator.models.plan import Plan
from orchestrator.models.task_contract import Attachment, Contract
from orchestrator.planner.by_model import Ask, PlanProposal, plan_by_model
from orchestrator.planner.check import check_plan
from orchestrator.planner.gates import add_gates, without_asking_for_writes
from orchestrator.planner.plan_schema import PLAN_SCHEMA
from orchestrator.planner.recipe import plan_by_name, plan_by_recipe
from workers.arms.base import models_used
from workers.attempt import replanning, result_cache, semantic_cache
from workers.attempt.concerns.retry import may_retry
from workers.attempt.context import AttemptContext
from workers.attempt.early_start import EarlyStart
from workers.attempt.model import AttemptModel, GoalMeaning, model_of
from workers.attempt.result_cache import ReusedResult
from workers.attempt.routing import Routes, choose_arms

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class RoutedPlan:
    """A plan and {step: routing decision}; `planned_at` (time.monotonic()) is when routing began.

    `may_have_begun`: steps of the task may have begun before the plan was complete.
    """

    plan: Plan
    routes: Routes
    planned_at: float
    may_have_begun: bool = False


def plan_and_route(attempt: AttemptContext) -> RoutedPlan | ReusedResult:
    """Return a cached result for the claimed task, else its plan and the arm of each step.

    The arms' statistics are read meanwhile, so that nothing is read between the plan and its saving.
    """
    attempt.process.arm_statistics.refresh()
    order, meaning = order_of(attempt.claim.spec), GoalMeaning(attempt)
    if order is None and (
        reused := result_cache.find_result(attempt) or semantic_cache.find_equivalent(attempt, meaning)
    ):
        return reused
    early = _early_start(attempt)
    plan, planned_at = make_plan(attempt, meaning, early), time.monotonic()
    routes = choose_arms(attempt.process, plan)
    policy = attempt.process.settings.approval_policy
    gated = add_gates(
        plan, routes, policy=policy, tenant=attempt.claim.tenant, always=order.gated if order else ()
    )
    if is_replay(attempt.claim.contract):
        gated = without_asking_for_writes(gated, routes)
    begun = bool(early and early.has_begun) or (attempt.claim.attempt > 1 and may_have_begun(attempt.claim))
    return RoutedPlan(gated, routes, planned_at, begun)


def make_plan(attempt: AttemptContext, meaning: GoalMeaning, early: EarlyStart | None = None) -> Plan:
    """Return the plan for the claimed task: the client's, or the recipe's that it names, else a model's or a recipe's.

    A recipe is chosen by the goal's words where no model is configured.

    When the models give no plan, a recipe is used only if it does all that the goal says, and the plan records it;
    otherwise the models' failure is raised. A retry takes the plan of the task that it repeats, checked again, because
    the rules may have changed since. `early` reads what a model writes.
    Raises Unplannable when no recipe fits, InvalidPlan when the plan breaks a rule, and the errors of the models.
    """
    contract, tenant = attempt.contract, attempt.claim.tenant
    if order := order_of(attempt.claim.spec):
        return replanning.plan_of_replay(attempt) or replanning.plan_again(attempt, order, _asker)
    if contract.plan is not None:
        return check_plan(contract.plan, tenant=tenant, attachments=attempt.attachments, contract=contract)
    source = source_of(attempt.claim.spec)
    if source and not source.is_planned_again:
        return _earlier_plan(attempt, source)
    attachments = attempt.attachments
    if contract.recipe is not None:
        return plan_by_name(contract, attachments, tenant=tenant)
    model = model_of(attempt)
    if model is None:
        return plan_by_recipe(contract, attachments, tenant=tenant)
    try:
        earlier = _recall(attempt, meaning)
        return plan_by_model(_asker(model, early), contract, attachments, tenant=tenant, earlier=earlier)
    except (MustWait, BudgetExceeded, ModelRefused):
        raise
    except (StepError, InvalidPlan) as failure:
        if may_retry(attempt, {"retryable": failure.retryable, "details": failure.details}):
            raise
        return _plan_without(failure, contract, attachments, tenant=tenant)


def _earlier_plan(attempt: AttemptContext, source: RetrySource) -> Plan:
    with statement(attempt.process.engine) as conn:
        plan = rounds.read(conn, source.task_id, number=source.round).plan
    return forked_plan(
        plan,
        source.inputs,
        contract=attempt.contract,
        tenant=attempt.claim.tenant,
        attachments=attempt.attachments,
    )


def _early_start(attempt: AttemptContext) -> EarlyStart | None:
    """Return what begins steps early; None where that is off, and for a plan that no model makes."""
    is_on = attempt.process.settings.plan_streaming == "on"
    return EarlyStart(attempt) if is_on and may_have_begun(attempt.claim) else None


def _recall(attempt: AttemptContext, meaning: GoalMeaning) -> Sequence[EarlierPlan]:
    """Return the plans of earlier tasks like this one, and keep its goal for later ones.

    A task that must not be answered from the cache takes no hints; one that must not be stored there is no hint.
    """
    contract, claim = attempt.contract, attempt.claim
    control = control_of(contract)
    is_kept = control.stores and not contract.redacted
    if attempt.process.settings.plan_hints == "off" or not (control.reads or is_kept):
        return ()
    goal = Goal.of(contract.goal, vector=meaning.vector())
    with statement(attempt.process.engine) as conn:
        earlier = planned_goals.recall(conn, claim.tenant, claim.task_id, goal, is_kept=is_kept)
    return earlier if control.reads else ()


def _asker(model: AttemptModel, early: EarlyStart | None = None) -> Ask:
    def ask(messages: Sequence[Message], *, purpose: str, enforced: Mapping[str, Any]) -> PlanProposal:
        completion = model.ask(
            messages,
            PLAN_SCHEMA,
            work=Work.PLAN,
            purpose=purpose,
            enforced=enforced,
            reader=early,
        )
        return PlanProposal(completion.value, completion.text, models_used([completion])[0])

    return ask


def _plan_without(
    failure: StepError | InvalidPlan, contract: Contract, attachments: Sequence[Attachment], *, tenant: str
) -> Plan:
    """Return a recipe's plan after the models failed; raises their failure when no recipe fits the goal wholly."""
    try:
        plan = plan_by_recipe(contract, attachments, tenant=tenant, must_fit_wholly=True)
    except Unplannable:
        raise failure from None
    log.warning("planning.without_model", code=failure.code)
    return replace(
        plan,
        rationale=f"The models gave no plan ({failure.code}: {failure.message}) {plan.rationale}",
        provenance={**plan.provenance, "model_failed": failure.code},
    )
