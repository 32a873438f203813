"""One call to one model, paid for: admitted by the gate, reserved in the purse, sent, settled, reported, noted."""

import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal

from orchestrator.llm import stop
from orchestrator.llm.gate import Entry, Gate, Rates, Report, Verdict
from orchestrator.llm.interface import Answer, Attempt, Bound, BudgetAccount, Finish, Provider, Query, Usage
from orchestrator.llm.price import FAKE, Prices
from orchestrator.models.errors import StepError, Stopped
from orchestrator.models.model_choice import ModelName
from orchestrator.models.model_errors import (
    ModelAnswerBroken,
    ModelAnswerCut,
    ModelBusy,
    ModelError,
    ModelRateLimited,
    ModelRefused,
    ModelTimeout,
    ModelUnavailable,
)

OVERHEAD_TOKENS = 512
"""What providers add to a request: their own words for a schema, the marks between turns."""

_OVERHEAD_A_TURN = 16
_BYTES_A_TOKEN = 4
_PAUSE_SECONDS = 1.0

Observe = Callable[[Attempt], None]


@dataclass(frozen=True)
class Candidate:
    """A model that may be asked."""

    provider: Provider
    model: str
    rates: Rates = field(default_factory=Rates)

    @property
    def name(self) -> ModelName:
        """Return provider:model."""
        return ModelName(self.provider.name, self.model)

    @property
    def key(self) -> str:
        """Return what tells this model from the same one at another address; the address itself may be secret."""
        address = hashlib.sha256(self.provider.base_url.encode()).hexdigest()[:12]
        return f"{self.name}@{address}"


@dataclass(frozen=True)
class Meter:
    """What every call of a process goes through; `observe` hears of each attempt."""

    gate: Gate
    prices: Prices
    timeout_seconds: float
    observe: Observe


class MeteredCalls:
    """The calls that one completion makes to one model; `attempts` grows with each."""

    def __init__(
        self, candidate: Candidate, *, meter: Meter, budget: BudgetAccount | None, attempts: list[Attempt]
    ) -> None:
        self._candidate = candidate
        self._meter = meter
        self._purse = budget
        self._attempts = attempts
        self._sent = 0

    def ask(self, query: Query) -> Answer:
        """Send a query and return an answer that says something. Raises StepError, Stopped and what the purse raises.

        What follows on a first call (a correction, another form) passes the rates: half a conversation is waste.
        """
        now = time.monotonic()
        if query.deadline <= now:
            raise ModelTimeout("There is no time left to ask a model.", details=self._who())
        bound = self._meter.prices.bound(
            self._candidate.name, input_tokens=input_bound(query), output_tokens=query.max_output_tokens
        )
        entry = self._admitted(bound)
        call = self._reserved(bound, entry)
        self._sent += 1
        started = time.monotonic()
        try:
            answer = self._candidate.provider.ask(query, self._candidate.model)
        except ModelError as failure:
            error = self._stopped() if stop.is_stopped() else failure
            self._close(error, entry, call, query, seconds=time.monotonic() - started)
            raise error from failure
        problem = self._problem(answer)
        self._close(problem, entry, call, query, seconds=time.monotonic() - started, answer=answer)
        if problem is not None:
            raise problem
        return answer

    def _stopped(self) -> Stopped:
        return Stopped("The attempt was told to stop while the model answered.", details=self._who())

    def _admitted(self, bound: Bound) -> Entry:
        rates = self._candidate.rates
        estimate = bound.input_tokens // _BYTES_A_TOKEN + bound.output_tokens
        tokens = min(estimate, rates.tokens) if rates.tokens else estimate
        entry = Entry(self._candidate.key, rates, tokens)
        verdict = self._meter.gate.admit(entry, must=self._sent > 0)
        if verdict.is_admitted:
            return entry
        detail = f"wait {verdict.wait_seconds:.1f} s"
        self._note(
            Attempt(*self._candidate.name, verdict.reason, False, detail=detail, breaker=verdict.breaker)
        )
        raise self._refusal(verdict)

    def _refusal(self, verdict: Verdict) -> StepError:
        wait = {**self._who(), "reason": verdict.reason, "retry_after": round(verdict.wait_seconds, 3)}
        if verdict.reason in ("open", "probing"):
            return ModelUnavailable(
                f"{self._candidate.name} failed too often of late; it is tried again in a while.",
                details=wait,
            )
        return ModelBusy(f"{self._candidate.name} is at its rate limit ({verdict.reason}).", details=wait)

    def _reserved(self, bound: Bound, entry: Entry) -> int:
        try:
            return self._purse.reserve(bound) if self._purse else 0
        except BaseException:
            self._meter.gate.report(entry, Report("abandoned"))
            raise

    def _problem(self, answer: Answer) -> ModelError | None:
        if answer.finish is Finish.CUT:
            how = "breaks off without a finish reason"
            return ModelAnswerBroken(f"The answer of {self._candidate.name} {how}.", details=self._who())
        if answer.refusal is not None:
            details = {**self._who(), "reason": answer.refusal}
            return ModelRefused(f"{self._candidate.name} declines to answer.", details=details)
        if answer.text.strip() or answer.vectors:
            return None
        if answer.finish is Finish.LENGTH:
            return ModelAnswerCut("The output limit was used up before a word was said.", details=self._who())
        return ModelAnswerBroken(f"{self._candidate.name} answered nothing.", details=self._who())

    def _close(
        self,
        error: ModelError | Stopped | None,
        entry: Entry,
        call: int,
        query: Query,
        *,
        seconds: float,
        answer: Answer | None = None,
    ) -> None:
        usage, dollars = self._spent(error, answer)
        given = query.deadline - time.monotonic() + seconds
        report = Report(
            "failed" if error and self._is_down(error, given) else "alive",
            tokens=usage.tokens if usage else None,
            pause_seconds=_pause(error),
        )
        breaker = self._meter.gate.report(entry, report)
        self._settle(call, query, answer, usage, dollars)
        outcome, detail = (error.code, error.message) if error else ("ok", "")
        name, is_fake = self._candidate.name, answer is not None and answer.model.startswith(FAKE)
        self._note(Attempt(*name, outcome, True, seconds, usage, dollars, detail, breaker, is_fake))

    def _settle(
        self, call: int, query: Query, answer: Answer | None, usage: Usage | None, dollars: Decimal | None
    ) -> None:
        """Charge what was told, else what the call likely used: its worst case would leave no room for a retry."""
        if self._purse is None:
            return
        if usage is not None:
            self._purse.settle(call, usage, dollars)
            return
        likely = likely_usage(query, answer)
        answering = answer.model if answer else ""
        cost = self._meter.prices.cost(self._candidate.name, likely, answering=answering)
        self._purse.settle(call, likely, cost, is_told=False)

    def _spent(
        self, error: ModelError | Stopped | None, answer: Answer | None
    ) -> tuple[Usage | None, Decimal | None]:
        if answer is not None:
            name, usage = self._candidate.name, answer.usage
            return usage, self._meter.prices.cost(name, usage, answering=answer.model) if usage else None
        return (None, None) if error and error.may_have_cost else (Usage(), Decimal(0))

    def _is_down(self, error: ModelError | Stopped, given: float) -> bool:
        """Tell whether an error is the model's; running out of a deadline that was near is not."""
        is_hasty = isinstance(error, ModelTimeout) and given < self._meter.timeout_seconds / 2
        return error.counts_against_model and not is_hasty

    def _note(self, attempt: Attempt) -> None:
        self._attempts.append(attempt)
        self._meter.observe(attempt)

    def _who(self) -> dict[str, str]:
        provider, model = self._candidate.name
        return {"provider": provider, "model": model}


def input_bound(query: Query) -> int:
    """Return more tokens than the query can come to: a token is at least a byte of what is sent."""
    sent = sum(len(turn.text.encode("utf-8", "surrogatepass")) + _OVERHEAD_A_TURN for turn in query.messages)
    schema = len(json.dumps(query.schema, ensure_ascii=False).encode()) if query.schema else 0
    return sent + schema + OVERHEAD_TOKENS


def likely_usage(query: Query, answer: Answer | None) -> Usage:
    """Return about what a call used whose usage nobody told: four bytes a token, as English and code come to.

    Without an answer, all the output that it was allowed.
    """
    sent = input_bound(query) - OVERHEAD_TOKENS
    said = len(answer.text.encode("utf-8", "surrogatepass")) if answer else 0
    output = min(_tokens_of(said), query.max_output_tokens) if answer else query.max_output_tokens
    return Usage(_tokens_of(sent), output)


def _tokens_of(size_bytes: int) -> int:
    return -(-size_bytes // _BYTES_A_TOKEN)


def _pause(error: ModelError | Stopped | None) -> float:
    """Return for how long everyone leaves the model alone."""
    if not isinstance(error, ModelRateLimited):
        return 0.0
    return float(error.details.get("retry_after", _PAUSE_SECONDS))
