"""One call to one model: admitted by the gate, reserved in the budget, sent, settled, reported and recorded."""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal

from orchestrator.llm import cancellation
from orchestrator.llm.capabilities import model_key
from orchestrator.llm.completion import BudgetAccount, CallRecord, UsageBound
from orchestrator.llm.gate import Admission, CallOutcome, CallTicket, Gate, Rates
from orchestrator.llm.pricing import FAKE, Prices
from orchestrator.llm.provider import FinishReason, ModelRequest, ModelResponse, Provider, Usage
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
"""What providers add to a request: their own text for a schema, the separators between messages."""

_OVERHEAD_A_MESSAGE = 16
_BYTES_A_TOKEN = 4
_DEFAULT_PAUSE_SECONDS = 1.0

Observe = Callable[[CallRecord], None]


@dataclass(frozen=True)
class ModelEndpoint:
    """A model at a provider's address, with its rate limits."""

    provider: Provider
    model: str
    rates: Rates = field(default_factory=Rates)

    @property
    def name(self) -> ModelName:
        """Return provider:model."""
        return ModelName(self.provider.name, self.model)

    @property
    def key(self) -> str:
        """Return a key that differs for the same model at another address; hashed, as the address may be secret."""
        return model_key(self.provider.name, self.model, url=self.provider.base_url)


@dataclass(frozen=True)
class CallContext:
    """What all calls of a process share; `observe` receives the record of each call."""

    gate: Gate
    prices: Prices
    timeout_seconds: float
    observe: Observe


@dataclass(frozen=True)
class _PendingCall:
    """A call that was admitted and reserved; `reservation` is its number in the budget."""

    request: ModelRequest
    ticket: CallTicket
    reservation: int
    started_at: float

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.started_at


class ModelCalls:
    """The calls that one completion makes to one model; each appends its record to `attempts`."""

    def __init__(
        self,
        endpoint: ModelEndpoint,
        *,
        context: CallContext,
        budget: BudgetAccount | None,
        attempts: list[CallRecord],
    ) -> None:
        self._endpoint = endpoint
        self._context = context
        self._budget = budget
        self._attempts = attempts
        self._sent = 0

    def send(self, request: ModelRequest) -> ModelResponse:
        """Send a request; return a response that has content. Raises StepError, Stopped and the budget's errors.

        Calls after the first (a correction, another response format) ignore the rate limits: stopping halfway would
        waste the first call.
        """
        if request.deadline <= time.monotonic():
            raise ModelTimeout("There is no time left to ask a model.", details=self._details())
        bound = self._context.prices.bound(
            self._endpoint.name,
            input_tokens=input_bound(request),
            output_tokens=request.max_output_tokens,
        )
        ticket = self._admitted(bound)
        reservation = self._reserved(bound, ticket)
        self._sent += 1
        call = _PendingCall(request, ticket, reservation, started_at=time.monotonic())
        try:
            response = self._endpoint.provider.send(request, self._endpoint.model)
        except ModelError as failure:
            error = self._stopped() if cancellation.is_cancelled() else failure
            self._close(call, error)
            raise error from failure
        problem = self._problem(response)
        self._close(call, problem, response)
        if problem is not None:
            raise problem
        return response

    def _stopped(self) -> Stopped:
        return Stopped("The attempt was stopped while the model answered.", details=self._details())

    def _admitted(self, bound: UsageBound) -> CallTicket:
        rates = self._endpoint.rates
        estimate = bound.input_tokens // _BYTES_A_TOKEN + bound.output_tokens
        tokens = min(estimate, rates.tokens) if rates.tokens else estimate
        ticket = CallTicket(self._endpoint.key, rates, tokens)
        admission = self._context.gate.admit(ticket, must=self._sent > 0)
        if admission.is_admitted:
            return ticket
        detail = f"wait {admission.wait_seconds:.1f} s"
        self._record(
            CallRecord(
                *self._endpoint.name, admission.reason, False, detail=detail, breaker=admission.breaker
            )
        )
        raise self._refusal(admission)

    def _refusal(self, admission: Admission) -> StepError:
        wait = {
            **self._details(),
            "reason": admission.reason,
            "retry_after": round(admission.wait_seconds, 3),
        }
        if admission.reason in ("open", "probing"):
            return ModelUnavailable(
                f"{self._endpoint.name} failed too often recently; it is tried again later.", details=wait
            )
        return ModelBusy(f"{self._endpoint.name} is at its rate limit ({admission.reason}).", details=wait)

    def _reserved(self, bound: UsageBound, ticket: CallTicket) -> int:
        try:
            return self._budget.reserve(bound) if self._budget else 0
        except BaseException:
            self._context.gate.report(ticket, CallOutcome("abandoned"))
            raise

    def _problem(self, response: ModelResponse) -> ModelError | None:
        name, details = self._endpoint.name, self._details()
        if response.finish is FinishReason.CUT:
            return ModelAnswerBroken(
                f"The answer of {name} breaks off without a finish reason.", details=details
            )
        if response.refusal is not None:
            details["reason"] = response.refusal
            return ModelRefused(f"{name} declines to answer.", details=details)
        if response.text.strip() or response.vectors:
            return None
        if response.finish is FinishReason.LENGTH:
            return ModelAnswerCut("The output limit was used up before the answer began.", details=details)
        return ModelAnswerBroken(f"The answer of {name} is empty.", details=details)

    def _close(
        self,
        call: _PendingCall,
        error: ModelError | Stopped | None,
        response: ModelResponse | None = None,
    ) -> None:
        """Report the outcome of a call to the gate, the budget and the observer."""
        seconds = call.seconds
        usage, dollars = self._spent(error, response)
        given_seconds = call.request.deadline - call.started_at
        outcome_of_call = CallOutcome(
            "failed" if error and self._counts_against_model(error, given_seconds) else "alive",
            tokens=usage.tokens if usage else None,
            pause_seconds=_pause_seconds(error),
        )
        breaker = self._context.gate.report(call.ticket, outcome_of_call)
        self._settle(call, response, usage, dollars)
        outcome, detail = (error.code, error.message) if error else ("ok", "")
        is_fake = response is not None and response.model.startswith(FAKE)
        first = response.first_text_seconds if response else None
        name = self._endpoint.name
        self._record(
            CallRecord(*name, outcome, True, seconds, usage, dollars, detail, breaker, is_fake, first)
        )

    def _settle(
        self,
        call: _PendingCall,
        response: ModelResponse | None,
        usage: Usage | None,
        dollars: Decimal | None,
    ) -> None:
        """Charge the reported usage, else an estimate: charging the upper bound would leave no room for a retry."""
        if self._budget is None:
            return
        if usage is not None:
            self._budget.settle(call.reservation, usage, dollars)
            return
        estimate = estimated_usage(call.request, response)
        answering = response.model if response else ""
        cost = self._context.prices.cost(self._endpoint.name, estimate, answering=answering)
        self._budget.settle(call.reservation, estimate, cost, is_reported=False)

    def _spent(
        self, error: ModelError | Stopped | None, response: ModelResponse | None
    ) -> tuple[Usage | None, Decimal | None]:
        if response is not None:
            name, usage = self._endpoint.name, response.usage
            cost = self._context.prices.cost(name, usage, answering=response.model) if usage else None
            return usage, cost
        return (None, None) if error and error.may_have_cost else (Usage(), Decimal(0))

    def _counts_against_model(self, error: ModelError | Stopped, given_seconds: float) -> bool:
        """Tell whether the model caused the error; a timeout after much less than the usual time does not count."""
        is_hasty = isinstance(error, ModelTimeout) and given_seconds < self._context.timeout_seconds / 2
        return error.counts_against_model and not is_hasty

    def _record(self, attempt: CallRecord) -> None:
        self._attempts.append(attempt)
        self._context.observe(attempt)

    def _details(self) -> dict[str, str]:
        provider, model = self._endpoint.name
        return {"provider": provider, "model": model}


def input_bound(request: ModelRequest) -> int:
    """Return an upper bound of the request's tokens: a token is at least one byte of what is sent."""
    sent = sum(
        len(message.text.encode("utf-8", "surrogatepass")) + _OVERHEAD_A_MESSAGE
        for message in request.messages
    )
    schema = len(json.dumps(request.schema, ensure_ascii=False).encode()) if request.schema else 0
    return sent + schema + OVERHEAD_TOKENS


def estimated_usage(request: ModelRequest, response: ModelResponse | None) -> Usage:
    """Return an estimate for a call without reported usage: four bytes a token, as in English text and code.

    Without a response, the estimate is all the output that the request allowed.
    """
    sent = input_bound(request) - OVERHEAD_TOKENS
    received = len(response.text.encode("utf-8", "surrogatepass")) if response else 0
    output = min(_tokens_of(received), request.max_output_tokens) if response else request.max_output_tokens
    return Usage(_tokens_of(sent), output)


def _tokens_of(size_bytes: int) -> int:
    return -(-size_bytes // _BYTES_A_TOKEN)


def _pause_seconds(error: ModelError | Stopped | None) -> float:
    """Return how long no process may call the model."""
    if not isinstance(error, ModelRateLimited):
        return 0.0
    return float(error.details.get("retry_after", _DEFAULT_PAUSE_SECONDS))
