"""One call to one model: admitted by the gate, reserved in the budget, sent, settled, reported and recorded."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from decimal import Decimal

from orchestrator.llm import cancellation
from orchestrator.llm.capabilities import model_key
from orchestrator.llm.completion import BudgetAccount, CallRecord, UsageBound
from orchestrator.llm.gate import Admission, CallOutcome, CallTicket, Gate, Rates
from orchestrator.llm.pricing import FAKE, Prices
from orchestrator.llm.provider import FinishReason, ModelRequest, ModelResponse, Provider, Usage
from orchestrator.llm.token_estimate import UsageHistory, input_bound
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
from orchestrator.models.model_limits import ModelLimits

_DEFAULT_PAUSE_SECONDS = 1.0

Observe = Callable[[CallRecord], None]


@dataclass(frozen=True)
class CallDetails:
    """A call that has ended, for a trace; `address` is the server's, and may hold a secret."""

    record: CallRecord
    request: ModelRequest
    response: ModelResponse | None
    address: str


Trace = Callable[[CallDetails], None]


@dataclass(frozen=True)
class ModelEndpoint:
    """A model at a provider's address, with its rate limits and its own limits."""

    provider: Provider
    model: str
    rates: Rates = field(default_factory=Rates)
    limits: ModelLimits = field(default_factory=ModelLimits)

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
    """What all calls of a process share; `observe` receives the record of each call, `trace` what was sent besides."""

    gate: Gate
    prices: Prices
    timeout_seconds: float
    observe: Observe
    trace: Trace = lambda _: None
    history: UsageHistory = field(default_factory=UsageHistory)


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
    """The calls that one completion makes to one model; each appends its record to `attempts`.

    `least_output_tokens` is the lowest output limit that a call may get where the budget has no room for more;
    `is_short` tells whether the last call got less than it asked for.
    """

    def __init__(
        self,
        endpoint: ModelEndpoint,
        *,
        context: CallContext,
        budget: BudgetAccount | None,
        attempts: list[CallRecord],
        least_output_tokens: int = 0,
    ) -> None:
        self._endpoint = endpoint
        self._context = context
        self._budget = budget
        self._attempts = attempts
        self._least_output_tokens = least_output_tokens
        self._usage = context.history.of(endpoint.key)
        self._sent = 0
        self.is_short = False

    def send(self, request: ModelRequest) -> ModelResponse:
        """Send a request; return a response that has content. Raises StepError, Stopped and the budget's errors.

        Calls after the first (a correction, another response format) ignore the rate limits: stopping halfway would
        waste the first call.
        """
        if request.deadline <= time.monotonic():
            raise ModelTimeout("There is no time left to ask a model.", details=self._details())
        request = self._within_context(request)
        ticket = self._admitted(request)
        reservation, granted = self._reserved(request, ticket)
        self.is_short = granted < request.max_output_tokens
        request = replace(request, max_output_tokens=granted)
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

    def _within_context(self, request: ModelRequest) -> ModelRequest:
        """Return the request with an output limit that fits into the model's context window beside the input."""
        window = self._endpoint.limits.context_tokens
        if window is None:
            return request
        left = max(window - self._usage.reserved_input(request), self._least_output_tokens)
        return replace(request, max_output_tokens=min(request.max_output_tokens, left))

    def _admitted(self, request: ModelRequest) -> CallTicket:
        rates = self._endpoint.rates
        output = min(round(self._usage.output_tokens), request.max_output_tokens)
        estimate = self._usage.expected_input(request) + output
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

    def _reserved(self, request: ModelRequest, ticket: CallTicket) -> tuple[int, int]:
        """Reserve the call in the budget; return its number there, and the output limit that it got."""
        if self._budget is None:
            return 0, request.max_output_tokens
        try:
            call, bound = self._budget.reserve(tuple(self._bounds(request)))
        except BaseException:
            self._context.gate.report(ticket, CallOutcome("abandoned"))
            raise
        return call, bound.output_tokens

    def _bounds(self, request: ModelRequest) -> Iterator[UsageBound]:
        """Yield what the call may reserve, the best first.

        While the budget has room, the hard bound of the input; then its estimate; then ever lower output limits.
        """
        hard, likely = input_bound(request), self._usage.reserved_input(request)
        output = request.max_output_tokens
        least = min(self._least_output_tokens or output, output)
        for input_tokens, output_tokens in [
            (hard, output),
            (likely, output),
            *((likely, output >> halvings) for halvings in range(1, 20) if output >> halvings > least),
            (likely, least),
        ]:
            yield self._context.prices.bound(
                self._endpoint.name, input_tokens=input_tokens, output_tokens=output_tokens
            )

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
        if response is not None and usage is not None:
            self._usage.learn(call.request, usage, seconds=seconds)
        self._settle(call, response, usage, dollars, seconds=seconds)
        outcome, detail = (error.code, error.message) if error else ("ok", "")
        is_fake = response is not None and response.model.startswith(FAKE)
        first = response.first_text_seconds if response else None
        name, number = self._endpoint.name, call.reservation or None
        record = CallRecord(
            *name, outcome, True, seconds, usage, dollars, detail, breaker, is_fake, first, number
        )
        self._record(record)
        self._context.trace(CallDetails(record, call.request, response, self._endpoint.provider.base_url))

    def _settle(
        self,
        call: _PendingCall,
        response: ModelResponse | None,
        usage: Usage | None,
        dollars: Decimal | None,
        *,
        seconds: float,
    ) -> None:
        """Charge the reported usage, else what such a call probably cost."""
        if self._budget is None:
            return
        if usage is not None:
            self._budget.settle(call.reservation, usage, dollars)
            return
        estimate = self._usage.expected_usage(call.request, response, seconds=seconds)
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


def _pause_seconds(error: ModelError | Stopped | None) -> float:
    """Return how long no process may call the model."""
    if not isinstance(error, ModelRateLimited):
        return 0.0
    return float(error.details.get("retry_after", _DEFAULT_PAUSE_SECONDS))
