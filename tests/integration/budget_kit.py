"""Works on a task's budget in tests: a claimed step, its ledger, and completions that are charged to it."""

import time
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from orchestrator.chord.database import statement
from orchestrator.lifecycle import metered_calls
from orchestrator.lifecycle.metered_calls import ClaimBudgetAccount
from orchestrator.llm.completion import BudgetAccount, Completion, CompletionRequest, UsageBound
from orchestrator.llm.prompt import Message
from orchestrator.memory import budget, events
from orchestrator.memory.budget import LedgerEntry
from orchestrator.memory.claims import Claim
from orchestrator.models.model_work import Work
from orchestrator.models.task_contract import Budget
from tests.integration.kit import Engineer, wait_step
from tests.llm_kit import HELLO, PURPOSE, ModelCaller


def working(engineer: Engineer, limit: Budget | None = None) -> tuple[Claim, ClaimBudgetAccount]:
    """Claim a step of a task with this budget; return its claim and account."""
    task_id = engineer.start(wait_step("a"), budget=limit or Budget())
    claim = engineer.take(task_id, "a")
    return claim, ClaimBudgetAccount(engineer.engine, claim)


def complete(
    engineer: Engineer,
    claim: Claim,
    caller: ModelCaller,
    *,
    messages: Sequence[Message] = HELLO,
    work: Work = Work.ANSWER,
    schema: Mapping[str, Any] | None = None,
) -> Completion:
    """Ask the models and charge the claim."""
    request = CompletionRequest(messages, PURPOSE, work, time.monotonic() + 5, schema)

    def ask(budget: BudgetAccount) -> Completion:
        return caller.models.complete(request, budget=budget)

    return metered_calls.complete(ClaimBudgetAccount(engineer.engine, claim), ask, purpose=PURPOSE, work=work)


def model_decisions(engineer: Engineer, claim: Claim) -> list[dict[str, Any]]:
    """Return what the task's trace records about model calls."""
    with statement(engineer.engine) as conn:
        return [item.payload for item in events.trace(conn, claim.task_id) if item.kind == "model"]


def reserve(account: ClaimBudgetAccount, bound: UsageBound) -> int:
    """Reserve a call of exactly this size; return its number."""
    call, reserved = account.reserve([bound])
    assert reserved == bound
    return call


def ledger(engineer: Engineer, claim: Claim) -> list[LedgerEntry]:
    """Return the task's calls."""
    with statement(engineer.engine) as conn:
        return budget.entries(conn, claim.task_id)


def totals(engineer: Engineer, claim: Claim) -> tuple[int, Decimal | None]:
    """Return the tokens and dollars that the task used."""
    task = engineer.task(claim.task_id)
    return task.tokens_used, task.cost_dollars
