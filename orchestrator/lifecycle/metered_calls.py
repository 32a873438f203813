"""Spends a task's budget on models: each call is reserved and settled, each completion told in the trace."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import structlog
from sqlalchemy import Connection, Engine

from orchestrator.chord.database import in_transaction, statement
from orchestrator.llm.completion import Completion, CompletionRequest, UsageBound
from orchestrator.llm.embedding import Embedder, Vectors
from orchestrator.llm.model_chain import ModelChain
from orchestrator.llm.provider import Usage
from orchestrator.memory import budget, events, steps, tasks
from orchestrator.memory.budget import Balance
from orchestrator.memory.steps import Claim
from orchestrator.models.errors import BudgetExceeded, MustWait, StepError, Stopped

log = structlog.get_logger(__name__)

WARN_AT = Decimal("0.8")
"""The part of a budget at which the task's stream says that it is running out."""


@dataclass(frozen=True)
class ClaimBudgetAccount:
    """The task's budget, as one claim may draw on it."""

    engine: Engine
    claim: Claim

    def reserve(self, bound: UsageBound) -> int:
        """Set aside the most that a call can use; return its number. Raises BudgetExceeded, MustWait."""
        return in_transaction(
            self.engine,
            lambda conn: budget.reserve(
                conn,
                self.claim.task_id,
                step_id=self.claim.id,
                attempt=self.claim.attempt,
                tokens=bound.tokens,
                cost=bound.dollars,
            ),
        )

    def settle(
        self, call: int, usage: Usage | None, dollars: Decimal | None, *, is_reported: bool = True
    ) -> None:
        """Charge what a call did use; without a usage, all that was set aside; see budget.settle."""
        in_transaction(self.engine, lambda conn: self._settle(conn, call, usage, dollars, is_reported))

    def _settle(
        self, conn: Connection, call: int, usage: Usage | None, dollars: Decimal | None, is_reported: bool
    ) -> None:
        balance = budget.settle(
            conn,
            budget.Reservation(self.claim.task_id, self.claim.id, self.claim.attempt, call),
            tokens=usage.tokens if usage else None,
            cost=dollars,
            is_reported=is_reported,
        )
        warnings = budget_warnings(balance) if balance else []
        if warnings:
            facts = [("budget.warning", warning) for warning in warnings]
            events.write(conn, self.claim.task_id, facts, round_number=self.claim.round)


def guarded_complete(
    models: ModelChain, engine: Engine, claim: Claim, request: CompletionRequest
) -> Completion:
    """Ask the models within the task's budget; see ModelChain.complete.

    Who answered, why others did not and what it cost goes into the task's trace, whatever came of it. Opens short
    transactions of its own: the caller must hold none, for they lock the task.
    """
    try:
        completion = models.complete(request, budget=ClaimBudgetAccount(engine, claim))
    except (StepError, Stopped) as error:
        told = _with_cause(engine, claim, error)
        _tell(engine, claim, {"purpose": request.purpose, "error": told.code, **told.details})
        if told is error:
            raise
        raise told from error
    _tell(engine, claim, completion.to_record())
    return completion


def guarded_embed(
    embedder: Embedder, engine: Engine, *, claim: Claim, texts: Sequence[str], deadline: float
) -> Vectors:
    """Return the texts' vectors, paid from the task's budget and told in its trace; see Embedder.embed."""
    told: dict[str, Any] = {"purpose": "embeddings", "texts": len(texts)}
    try:
        vectors, attempts = embedder.embed(texts, deadline=deadline, budget=ClaimBudgetAccount(engine, claim))
    except (StepError, Stopped) as error:
        caused = _with_cause(engine, claim, error)
        _tell(engine, claim, {**told, "error": caused.code, **caused.details})
        if caused is error:
            raise
        raise caused from error
    _tell(engine, claim, {**told, "attempts": [attempt.to_record() for attempt in attempts]})
    return vectors


def postpone(engine: Engine, claim: Claim, wait: MustWait) -> bool:
    """Queue a claimed row again for when there may be room; neither a failure nor a kill is counted.

    False when the attempt is no longer the current one.
    """
    delay = max(float(wait.details.get("retry_after", 1.0)), 0.05)

    def work(conn: Connection) -> bool:
        task = tasks.lock_task(conn, claim.task_id)
        if task is None or task.finished_at is not None:
            return False
        if not steps.postpone(conn, claim.id, attempt=claim.attempt, delay_seconds=delay):
            return False
        fact = {
            "step": claim.name,
            "step_id": claim.id,
            "round": claim.round,
            "arm": claim.arm,
            "attempt": claim.attempt,
            "failures": claim.failures,
            "delay_seconds": round(delay, 3),
            "error": {"code": wait.code, "message": wait.message},
        }
        events.write(conn, claim.task_id, [("step.retrying", fact)], round_number=claim.round)
        return True

    return in_transaction(engine, work)


def budget_warnings(balance: Balance) -> list[dict[str, Any]]:
    """Return a warning for each budget of which this call was the one to pass WARN_AT."""
    of_tokens = (Decimal(balance.tokens_before), Decimal(balance.tokens_after), Decimal(balance.max_tokens))
    of_dollars = (balance.cost_before, balance.cost_after, balance.max_cost)
    return [
        {"budget": name, "spent": str(after), "limit": str(limit)}
        for name, (before, after, limit) in (("max_tokens", of_tokens), ("max_cost_dollars", of_dollars))
        if before is not None and after is not None and before < limit * WARN_AT <= after
    ]


def _with_cause(engine: Engine, claim: Claim, error: StepError | Stopped) -> StepError | Stopped:
    """Return the error; that of a budget which failed calls have used up names the first of them."""
    if not isinstance(error, BudgetExceeded):
        return error
    earlier = error.details.get("earlier_error") or _charged_in_vain(error.details)
    if earlier is None:
        with statement(engine) as conn:
            told = [item.payload for item in events.trace(conn, claim.task_id) if item.kind == "model"]
        told.sort(key=lambda record: record.get("step_id") != claim.id)
        earlier = next(filter(None, (_charged_in_vain(record) for record in told)), None)
    if earlier is None:
        return error
    return BudgetExceeded(
        f"{error.message} Part of it went to an earlier call: {earlier['message']} ({earlier['code']})",
        details={**error.details, "earlier_error": earlier},
    )


def _charged_in_vain(record: Mapping[str, Any]) -> dict[str, str] | None:
    """Return why the first call of a record gave nothing though it was charged; None where there is none."""
    for attempt in record.get("attempts", ()):
        if not attempt["called"] or attempt["input_tokens"] == 0:
            continue
        if attempt["outcome"] != "ok":
            return {"code": attempt["outcome"], "message": attempt["detail"]}
        if attempt["input_tokens"] is None:
            who = f"{attempt['provider']}:{attempt['model']}"
            return {"code": "usage_untold", "message": f"{who} told no usage, so that it was estimated."}
    return None


def _tell(engine: Engine, claim: Claim, record: Mapping[str, Any]) -> None:
    told = {"step": claim.name, "step_id": claim.id, "attempt": claim.attempt, **record}
    with statement(engine) as conn:
        events.write(conn, claim.task_id, [], round_number=claim.round, decisions={"model": told})
