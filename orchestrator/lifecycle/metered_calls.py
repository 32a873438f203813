"""Charges calls to models to the task's budget and records each completion in the task's trace."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

import structlog
from sqlalchemy import Connection, Engine

from orchestrator.chord.database import in_transaction, statement
from orchestrator.llm.completion import BudgetAccount, Completion, UsageBound
from orchestrator.llm.embedding import Embedder, Vectors
from orchestrator.llm.provider import Usage
from orchestrator.memory import budget, events, model_answers
from orchestrator.memory.budget import Balance
from orchestrator.memory.claims import Claim
from orchestrator.memory.model_answers import KeptAnswer
from orchestrator.models.errors import BudgetExceeded, StepError, Stopped
from orchestrator.models.model_work import Work
from orchestrator.models.task_contract import Budget

log = structlog.get_logger(__name__)

WARN_AT = Decimal("0.8")
"""Once this share of a budget is used, the task gets the event `budget.warning`."""


@dataclass(frozen=True)
class ClaimBudgetAccount:
    """The task's budget, charged by one claim."""

    engine: Engine
    claim: Claim

    def reserve(self, bounds: Sequence[UsageBound]) -> tuple[int, UsageBound]:
        """Reserve the first of the bounds that fits; return the call's number and that bound; see budget.reserve."""
        call, chosen = in_transaction(
            self.engine,
            lambda conn: budget.reserve(
                conn,
                self.claim.task_id,
                step_id=self.claim.id,
                attempt=self.claim.attempt,
                sizes=[(bound.tokens, bound.dollars) for bound in bounds],
            ),
        )
        return call, bounds[chosen]

    def tokens_left(self, max_tokens: int) -> int:
        """Return what the task has not spent or reserved of `max_tokens`; never negative."""
        with statement(self.engine) as conn:
            return max(0, max_tokens - budget.used(conn, self.claim.task_id)[0])

    def rest_of(self, limits: Budget) -> Budget:
        """Return the budget with the tokens and the dollars that the task has not spent or reserved."""
        with statement(self.engine) as conn:
            tokens, dollars = budget.used(conn, self.claim.task_id)
        return replace(
            limits,
            max_tokens=max(0, limits.max_tokens - tokens),
            max_cost_dollars=max(Decimal(0), limits.max_cost_dollars - dollars),
        )

    def settle(
        self, call: int, usage: Usage | None, dollars: Decimal | None, *, is_reported: bool = True
    ) -> None:
        """Charge what a call used; without a usage, all that was reserved; see budget.settle."""
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


def complete(
    account: ClaimBudgetAccount,
    ask: Callable[[BudgetAccount], Completion],
    *,
    purpose: str,
    work: Work,
    keep: Callable[[Completion], KeptAnswer] | None = None,
) -> Completion:
    """Return the completion of `ask`, which calls models and charges `account`; record it in the task's trace.

    `keep` says what is kept of the answer for replays; None: nothing. A failure is recorded, too. Opens short
    transactions that lock the task: the caller must hold none.
    """
    try:
        completion = ask(account)
    except (StepError, Stopped) as error:
        raised = _with_cause(account, error)
        _record(account, {"purpose": purpose, "work": work, "error": raised.code, **raised.details})
        if raised is error:
            raise
        raise raised from error
    recorded = {"work": work, **completion.to_record()}
    if keep is None:
        _record(account, recorded)
    else:
        _keep(account, recorded, keep(completion))
    return completion


def replayed(account: ClaimBudgetAccount, completion: Completion, *, work: Work, kept: KeptAnswer) -> None:
    """Record in the task's trace that an answer was given again; it cost nothing."""
    _keep(account, {"work": work, "replayed": True, **completion.to_record()}, kept)


def embed(
    account: ClaimBudgetAccount, embedder: Embedder, texts: Sequence[str], *, deadline: float
) -> Vectors:
    """Return a vector for each text, charged to `account` and recorded in the task's trace; see Embedder.embed."""
    record: dict[str, Any] = {"purpose": "embeddings", "work": "embed", "texts": len(texts)}
    try:
        vectors, attempts = embedder.embed(texts, deadline=deadline, budget=account)
    except (StepError, Stopped) as error:
        raised = _with_cause(account, error)
        _record(account, {**record, "error": raised.code, **raised.details})
        if raised is error:
            raise
        raise raised from error
    _record(account, {**record, "attempts": [attempt.to_record() for attempt in attempts]})
    return vectors


def budget_warnings(balance: Balance) -> list[dict[str, Any]]:
    """Return a warning for each budget whose use this call raised past the share WARN_AT."""
    of_tokens = (Decimal(balance.tokens_before), Decimal(balance.tokens_after), Decimal(balance.max_tokens))
    of_dollars = (balance.cost_before, balance.cost_after, balance.max_cost)
    return [
        {"budget": name, "spent": str(after), "limit": str(limit)}
        for name, (before, after, limit) in (("max_tokens", of_tokens), ("max_cost_dollars", of_dollars))
        if before is not None and after is not None and before < limit * WARN_AT <= after
    ]


def _with_cause(account: ClaimBudgetAccount, error: StepError | Stopped) -> StepError | Stopped:
    """Return the error; BudgetExceeded names the earlier failed call that used up a part of the budget, if any."""
    if not isinstance(error, BudgetExceeded):
        return error
    claim = account.claim
    earlier = error.details.get("earlier_error") or _charged_failure(error.details)
    if earlier is None:
        with statement(account.engine) as conn:
            records = [item.payload for item in events.trace(conn, claim.task_id) if item.kind == "model"]
        records.sort(key=lambda record: record.get("step_id") != claim.id)
        earlier = next(filter(None, (_charged_failure(record) for record in records)), None)
    if earlier is None:
        return error
    return BudgetExceeded(
        f"{error.message} Part of it went to an earlier call: {earlier['message']} ({earlier['code']})",
        details={**error.details, "earlier_error": earlier},
    )


def _charged_failure(record: Mapping[str, Any]) -> dict[str, str] | None:
    """Return the error of a record's first call that failed or reported no usage though it was charged."""
    for attempt in record.get("attempts", ()):
        if not attempt["called"] or attempt["input_tokens"] == 0:
            continue
        if attempt["outcome"] != "ok":
            return {"code": attempt["outcome"], "message": attempt["detail"]}
        if attempt["input_tokens"] is None:
            model = f"{attempt['provider']}:{attempt['model']}"
            return {"code": "usage_untold", "message": f"{model} reported no usage, so it was estimated."}
    return None


def _keep(account: ClaimBudgetAccount, record: Mapping[str, Any], kept: KeptAnswer) -> None:
    with statement(account.engine) as conn:
        model_answers.keep(conn, account.claim, _decision(account.claim, record), kept)


def _decision(claim: Claim, record: Mapping[str, Any]) -> dict[str, Any]:
    return {"step": claim.name, "step_id": claim.id, "attempt": claim.attempt, **record}


def _record(account: ClaimBudgetAccount, record: Mapping[str, Any]) -> None:
    claim, decision = account.claim, _decision(account.claim, record)
    with statement(account.engine) as conn:
        events.write(conn, claim.task_id, [], round_number=claim.round, decisions={"model": decision})
