"""Turns texts into vectors by the embedding model that the operator chose, by the rules of every call to a model."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from orchestrator.llm.interface import Attempt, Bound, BudgetAccount, Query, Usage
from orchestrator.llm.metered import Candidate, Meter, MeteredCalls
from orchestrator.llm.prompt import Message, Role
from orchestrator.models.errors import StepError, Stopped

TEXTS_A_CALL = 64

Vectors = list[tuple[float, ...]]


@dataclass(frozen=True)
class Embedder:
    """The embedding model of this process; may be used by several threads at once."""

    candidate: Candidate
    meter: Meter

    @property
    def model(self) -> str:
        """Return provider:model, which vectors are kept under."""
        return str(self.candidate.name)

    def embed(
        self, texts: Sequence[str], *, deadline: float, budget: BudgetAccount | None = None
    ) -> tuple[Vectors, list[Attempt]]:
        """Return a vector for each text, by `deadline` (time.monotonic()), and the calls that it took.

        Only dollars are paid from the purse: tokens limit what models read and write for an answer, and an index serves
        many. Raises StepError, as Models.complete does; details.attempts tells all that happened.
        """
        attempts: list[Attempt] = []
        dollars = _Dollars(budget) if budget else None
        calls = MeteredCalls(self.candidate, meter=self.meter, budget=dollars, attempts=attempts)
        vectors: Vectors = []
        try:
            for start in range(0, len(texts), TEXTS_A_CALL):
                messages = [Message(Role.USER, text) for text in texts[start : start + TEXTS_A_CALL]]
                longest = time.monotonic() + self.meter.timeout_seconds
                vectors += calls.ask(Query(messages, 0, min(deadline, longest))).vectors
        except (StepError, Stopped) as error:
            error.details["attempts"] = [attempt.to_record() for attempt in attempts]
            raise
        return vectors, attempts


@dataclass(frozen=True)
class _Dollars:
    """A purse that is asked for dollars only."""

    budget: BudgetAccount

    def reserve(self, bound: Bound) -> int:
        """Set aside what a call can cost; return its number."""
        return self.budget.reserve(Bound(0, 0, bound.dollars))

    def settle(
        self, call: int, usage: Usage | None, dollars: Decimal | None, *, is_told: bool = True
    ) -> None:
        """Charge what a call did cost; without a usage, all that was set aside."""
        self.budget.settle(call, Usage() if usage else None, dollars, is_told=is_told)
