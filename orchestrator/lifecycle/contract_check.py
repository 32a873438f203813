"""Checks a task contract and its plan as a submission does, but saves and publishes nothing."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, TypeVar

from sqlalchemy import Engine

from orchestrator.chord.database import statement
from orchestrator.lifecycle.submission import find_attachments, plan_without_model, require_callback
from orchestrator.memory import pools
from orchestrator.models.arm_capability import ARMS
from orchestrator.models.errors import InvalidInput, Unplannable
from orchestrator.models.plan import Plan
from orchestrator.models.task_contract import Attachment, Contract
from orchestrator.planner.check import check_plan, tokens_estimated
from orchestrator.router import Route, arms_of, route_all
from orchestrator.settings import Settings

T = TypeVar("T")

_PLAN_MEMBERS = ("steps", "result", "rationale")


class Fault(NamedTuple):
    """What is wrong with a contract: a dotted path in it, and why."""

    field: str
    message: str


@dataclass(frozen=True)
class CheckedContract:
    """What a submission of a contract would answer.

    `plan` is the one that would run, with a route for each step; None if there is a fault or a model makes the plan.
    `reserved_tokens` are those that its steps take of the budget.
    """

    faults: Sequence[Fault]
    plan: Plan | None = None
    routes: Mapping[str, Route] = field(default_factory=dict)
    reserved_tokens: int = 0


def check_contract(engine: Engine, *, settings: Settings, tenant: str, contract: Contract) -> CheckedContract:
    """Return every fault of a contract that its submission would be refused for, else its plan.

    Limits on the number of tasks are not checked. Takes two statements that read.
    """
    check = _Check(engine, settings, tenant, contract)
    attachments = check.tried(lambda: find_attachments(engine, tenant, contract.attachments))
    if (url := contract.callback_url) is not None:
        check.tried(lambda: require_callback(url, settings))
    plan = check.plan(attachments)
    if check.faults or plan is None:
        return CheckedContract(check.faults)
    tokens = tokens_estimated(plan.steps, is_ours=contract.plan is None)
    return CheckedContract((), plan, _routes(engine, tenant, plan), round(tokens))


def faults_of(error: InvalidInput) -> list[Fault]:
    """Return the faults that an error lists, or its message as a fault of the whole contract."""
    errors = error.details.get("errors") or [{"field": "", "message": error.message}]
    return [Fault(item["field"], item["message"]) for item in errors]


@dataclass(frozen=True)
class _Check:
    """The check of one contract, and the faults that were found so far."""

    engine: Engine
    settings: Settings
    tenant: str
    contract: Contract
    faults: list[Fault] = field(default_factory=list)

    def plan(self, attachments: Sequence[Attachment] | None) -> Plan | None:
        """Return the plan that would run; of unknown attachments (None) a client's plan may name the ids."""
        if (record := self.contract.plan) is not None:
            files = self.contract.attachments if attachments is None else attachments
            return self.tried(
                lambda: check_plan(record, tenant=self.tenant, attachments=files, contract=self.contract)
            )
        if attachments is None:
            return None
        return self.tried(
            lambda: plan_without_model(self.contract, attachments, settings=self.settings, tenant=self.tenant)
        )

    def tried(self, find: Callable[[], T]) -> T | None:
        """Return what `find` returns; None after adding the faults for which a submission would be refused."""
        try:
            return find()
        except InvalidInput as error:
            self.faults.extend(self._placed(fault) for fault in faults_of(error))
        except Unplannable as error:
            self.faults.append(Fault("goal", error.message))
        return None

    def _placed(self, fault: Fault) -> Fault:
        """Return a fault of a plan with its place in the contract; of a recipe's plan that is where it was chosen."""
        if fault.field.split(".")[0] not in _PLAN_MEMBERS:
            return fault
        if self.contract.plan is not None:
            return Fault(f"plan.{fault.field}", fault.message)
        chosen = "recipe" if self.contract.recipe else "goal"
        return Fault(chosen, f"the recipe's plan: {fault.field}: {fault.message}")


def _routes(engine: Engine, tenant: str, plan: Plan) -> dict[str, Route]:
    arms = [arm for name in sorted(arms_of(plan)) if (arm := ARMS.get(name)) is not None]
    with statement(engine) as conn:
        return route_all(plan, pools.arm_statistics(conn, arms=arms, tenant=tenant))
