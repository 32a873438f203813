"""Plans a task with a plan that a model made for a goal like it, and remembers which plans did their work."""

import structlog

from orchestrator.bootstrap import WorkerProcess
from orchestrator.cache import plan_template
from orchestrator.cache.key import control_of
from orchestrator.cache.plan_template import MODE, KnownPlan
from orchestrator.chord.database import statement
from orchestrator.memory.steps import Claim
from orchestrator.models.errors import InvalidPlan
from orchestrator.models.execution_state import Decision, Plan, Verdict
from orchestrator.models.task_contract import Contract
from orchestrator.observability import metric
from orchestrator.planner.check import check_plan
from orchestrator.planner.rebinding import rebind
from orchestrator.similarity import template_of

log = structlog.get_logger(__name__)


def find_plan(process: WorkerProcess, claim: Claim, contract: Contract) -> Plan | None:
    """Return a known plan, bound to the task's own values and checked as any other; None where none can be."""
    if claim.cache_key is None or not control_of(contract).reads:
        return None
    known = _known(process, claim, contract)
    plan = _bound(known, contract) if known else None
    metric.cache_asked("hit" if plan else "miss", "plan")
    return plan


def learn(process: WorkerProcess, claim: Claim, plan: Plan, verdict: Verdict) -> None:
    """Keep a plan that passed for other goals; drop one that was reused and did not pass."""
    contract = Contract.from_record(claim.contract)
    if claim.cache_key is None or not process.settings.models:
        return
    if plan.mode == MODE and verdict.decision is Decision.FAILED:
        process.templates.drop(claim.cache_key, contract.goal)
        log.info("plan.template_dropped", template_of=plan.provenance.get("template_of"))
    elif (
        claim.round == 1
        and control_of(contract).stores
        and plan_template.may_serve(plan, verdict, contract.goal)
    ):
        process.templates.put(claim.cache_key, contract.goal, claim.task_id)


def _known(process: WorkerProcess, claim: Claim, contract: Contract) -> KnownPlan | None:
    key = str(claim.cache_key)
    task_id = process.templates.find(key, contract.goal)
    if task_id is None:
        return None
    with statement(process.engine) as conn:
        return plan_template.read(conn, claim.tenant, task_id, key=key, goal=contract.goal)


def _bound(known: KnownPlan, contract: Contract) -> Plan | None:
    here, there = template_of(contract.goal), template_of(known.goal)
    if here is None or there is None:
        return None
    steps = rebind(known.plan.to_record()["steps"], there.values, here.values)
    if steps is None:
        return None
    try:
        return check_plan(
            steps,
            attachments=contract.attachments,
            budget=contract.budget,
            contract=contract,
            is_ours=True,
            mode=MODE,
            rationale=f"The plan of {known.task_id}, whose goal differs from this one only in its values.",
            provenance={
                "llm_used": False,
                "template_of": known.task_id,
                "values": [list(pair) for pair in zip(there.values, here.values, strict=True)],
                "made_by": known.plan.provenance,
            },
        )
    except InvalidPlan as invalid:
        log.info("plan.template_unfit", template_of=known.task_id, fault=invalid.message)
        return None
