"""Turns texts into vectors with the embedding model of the settings, under the same rules as every model call."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from orchestrator.llm.completion import BudgetAccount, CallRecord, UsageBound
from orchestrator.llm.model_call import CallContext, ModelCalls, ModelEndpoint
from orchestrator.llm.prompt import Message, Role
from orchestrator.llm.provider import ModelRequest, Usage
from orchestrator.models.errors import StepError, Stopped

TEXTS_A_CALL = 64

Vectors = list[tuple[float, ...]]


@dataclass(frozen=True)
class Embedder:
    """The embedding model of this process; safe for use by several threads at once."""

    endpoint: ModelEndpoint
    context: CallContext

    @property
    def model(self) -> str:
        """Return provider:model, the key that vectors are stored under."""
        return str(self.endpoint.name)

    def embed(
        self, texts: Sequence[str], *, deadline: float, budget: BudgetAccount | None = None
    ) -> tuple[Vectors, list[CallRecord]]:
        """Return one vector for each text, by `deadline` (time.monotonic()), and the calls that were made.

        Charges only dollars to the budget: its tokens are for answers, while an index serves many tasks. Raises
        StepError as ModelChain.complete does; details.attempts lists all calls.
        """
        attempts: list[CallRecord] = []
        dollars = _DollarBudget(budget) if budget else None
        calls = ModelCalls(self.endpoint, context=self.context, budget=dollars, attempts=attempts)
        vectors: Vectors = []
        try:
            for start in range(0, len(texts), TEXTS_A_CALL):
                messages = [Message(Role.USER, text) for text in texts[start : start + TEXTS_A_CALL]]
                longest = time.monotonic() + self.context.timeout_seconds
                vectors += calls.send(ModelRequest(messages, 0, min(deadline, longest))).vectors
        except (StepError, Stopped) as error:
            error.details["attempts"] = [attempt.to_record() for attempt in attempts]
            raise
        return vectors, attempts


@dataclass(frozen=True)
class _DollarBudget:
    """A budget account of which only dollars are used."""

    budget: BudgetAccount

    def reserve(self, bounds: Sequence[UsageBound]) -> tuple[int, UsageBound]:
        """Reserve the maximum cost of a call; return the reservation's number and its bound."""
        return self.budget.reserve([UsageBound(0, 0, bound.dollars) for bound in bounds])

    def settle(
        self, call: int, usage: Usage | None, dollars: Decimal | None, *, is_reported: bool = True
    ) -> None:
        """Charge the call's cost; without a usage, charge the whole reservation."""
        self.budget.settle(call, Usage() if usage else None, dollars, is_reported=is_reported)
