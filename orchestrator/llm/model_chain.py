"""Asks the models of the chain in order until one gives a usable answer, and records every call."""

import time
from collections.abc import MutableMapping, Sequence
from dataclasses import replace
from importlib import import_module

import structlog

from orchestrator.llm.answer_parser import replace_unstorable, without_reasoning
from orchestrator.llm.capabilities import LearnedFacts
from orchestrator.llm.completion import BudgetAccount, CallRecord, Completion, CompletionRequest
from orchestrator.llm.embedding import Embedder
from orchestrator.llm.gate import Gate, Rates
from orchestrator.llm.model_call import CallContext, ModelCalls, ModelEndpoint, Observe, Trace
from orchestrator.llm.pricing import FAKE, prices_of
from orchestrator.llm.provider import ModelRequest, ModelResponse, Provider, ProviderOptions, ResponseFormat
from orchestrator.llm.structured_output import (
    AnswerSchema,
    StructuredAnswer,
    SupportedFormats,
    complete_structured,
)
from orchestrator.models.endpoint import Endpoint
from orchestrator.models.errors import BudgetExceeded, MustWait, StepError, Stopped
from orchestrator.models.model_choice import ModelName
from orchestrator.models.model_errors import (
    ModelAnswerCut,
    ModelBusy,
    ModelError,
    ModelRequestRejected,
    NoModel,
)
from orchestrator.models.model_limits import (
    LEAST_INPUT_TOKENS,
    input_room,
    larger_limit,
    limits_of,
    output_limit,
)
from orchestrator.models.model_work import ROOMS, ModelPreferences, Work
from orchestrator.rules.schema_check import schema_faults
from orchestrator.settings import Settings, drop_empty

log = structlog.get_logger(__name__)


class ModelChain:
    """The models of this process, the first choice first; safe for use by several threads at once."""

    def __init__(
        self,
        endpoints: Sequence[ModelEndpoint],
        *,
        context: CallContext,
        preferences: ModelPreferences | None = None,
    ) -> None:
        self._endpoints = tuple(endpoints)
        self._context = context
        self._preferences = preferences or ModelPreferences()
        # {(endpoint, work): the output limit that an answer needed after it was cut}
        self._grown: dict[tuple[str, Work], int] = {}
        self._formats = {
            endpoint.key: SupportedFormats(
                endpoint.provider.response_formats, endpoint.provider.capabilities_of(endpoint.model)
            )
            for endpoint in endpoints
        }

    @property
    def is_configured(self) -> bool:
        """Tell whether the chain has any model."""
        return bool(self._endpoints)

    @property
    def providers(self) -> tuple[str, ...]:
        """Return the providers of the chain, the first choice first."""
        return tuple(dict.fromkeys(endpoint.provider.name for endpoint in self._endpoints))

    def complete(self, request: CompletionRequest, *, budget: BudgetAccount | None = None) -> Completion:
        """Return the first usable answer of the chain, before the request's deadline.

        Raises StepError: a ModelError whose `retryable` says whether the step may be tried again, MustWait, or the
        budget's error; details.attempts lists all calls.
        """
        attempts: list[CallRecord] = []
        if request.schema is not None and (wrong := schema_faults(dict(request.schema))):
            raise ValueError(f"the schema of {request.purpose} can't be used: {wrong[0]}")
        try:
            return self._first_usable(request, budget, attempts)
        except (StepError, Stopped) as error:
            error.details["attempts"] = [attempt.to_record() for attempt in attempts]
            raise

    def input_room(self, work: Work, *, model: ModelName | None = None) -> int:
        """Return the tokens that a question may have for every model that is asked for this kind of work."""
        chosen = self._preferences.output_tokens.get(work)
        rooms = [input_room(work, endpoint.limits, chosen=chosen) for endpoint in self._chain(work, model)]
        return min(rooms, default=LEAST_INPUT_TOKENS)

    def close(self) -> None:
        """Close all connections."""
        for endpoint in self._endpoints:
            endpoint.provider.close()

    def _first_usable(
        self, request: CompletionRequest, budget: BudgetAccount | None, attempts: list[CallRecord]
    ) -> Completion:
        failures: list[StepError] = []
        for endpoint in sorted(
            self._chain(request.work, request.model),
            key=lambda endpoint: endpoint.provider.name in request.avoid,
        ):
            if failures and time.monotonic() >= request.deadline:
                break
            calls = ModelCalls(
                endpoint,
                context=self._context,
                budget=budget,
                attempts=attempts,
                least_output_tokens=ROOMS[request.work].least,
            )
            try:
                answer = self._ask(endpoint, calls, request)
            except (ModelError, ModelBusy) as error:
                if isinstance(error, ModelError) and not error.may_fail_over:
                    raise
                log.warning(
                    "model.failed", model=str(endpoint.name), code=error.code, purpose=request.purpose
                )
                failures.append(error)
            else:
                return _completion(endpoint, answer, purpose=request.purpose, attempts=attempts)
        raise _most_useful(failures)

    def _chain(self, work: Work, model: ModelName | None) -> Sequence[ModelEndpoint]:
        """Return the models to ask for this kind of work, the first choice first; only `model` if it is named.

        There is none if this process does not have that one.
        """
        if model is not None:
            return [endpoint for endpoint in self._endpoints if endpoint.name == model]
        chosen = self._preferences.chains.get(work) or self._preferences.default
        named = {endpoint.name: endpoint for endpoint in self._endpoints}
        return [named[name] for name in chosen] if chosen else self._endpoints

    def _ask(
        self, endpoint: ModelEndpoint, calls: ModelCalls, request: CompletionRequest
    ) -> StructuredAnswer:
        """Return a model's answer; one that was cut is tried once more with a larger output limit."""
        grown = (endpoint.key, request.work)
        chosen = self._preferences.output_tokens.get(request.work)
        limit = self._grown.get(grown) or output_limit(request.work, endpoint.limits, chosen=chosen)
        try:
            return self._ask_once(endpoint, calls, request, limit)
        except ModelAnswerCut as cut:
            larger = larger_limit(limit, endpoint.limits)
            if calls.is_short or larger == limit:
                raise _cut(endpoint, request.work, limit, is_short=calls.is_short) from cut
        try:
            answer = self._ask_once(endpoint, calls, request, larger)
        except ModelAnswerCut as cut:
            raise _cut(endpoint, request.work, larger, is_short=calls.is_short) from cut
        except ModelRequestRejected as rejected:
            # the server has no room for the larger limit
            raise _cut(endpoint, request.work, limit, is_short=False) from rejected
        except BudgetExceeded as exceeded:
            earlier = _cut(endpoint, request.work, limit, is_short=False)
            exceeded.details.setdefault("earlier_error", {"code": earlier.code, "message": earlier.message})
            raise
        self._grown[grown] = larger
        return answer

    def _ask_once(
        self, endpoint: ModelEndpoint, calls: ModelCalls, request: CompletionRequest, output_tokens: int
    ) -> StructuredAnswer:
        def send(call: ModelRequest) -> ModelResponse:
            longest = time.monotonic() + self._context.timeout_seconds
            return calls.send(replace(call, deadline=min(call.deadline, longest)))

        first = ModelRequest(
            tuple(request.messages),
            output_tokens,
            request.deadline,
            effort=self._preferences.efforts.get(request.work) if endpoint.limits.has_effort else None,
            progress=request.progress,
        )
        if request.schema is None:
            response = send(first)
            text = without_reasoning(response.text)
            return StructuredAnswer(replace(response, text=text), None, ResponseFormat.TEXT)
        return complete_structured(
            first,
            AnswerSchema(request.schema, request.enforced),
            send=send,
            formats=self._formats[endpoint.key],
        )


def open_models(
    settings: Settings,
    *,
    gate: Gate,
    observe: Observe,
    environ: MutableMapping[str, str],
    learned: LearnedFacts,
    trace: Trace = lambda _: None,
) -> ModelChain:
    """Return the chain of models of the settings; imports only the SDKs that it needs.

    `environ` is os.environ, which the SDKs read: their empty variables are deleted, since they break the SDKs.
    """
    drop_empty(environ)
    providers: dict[str, Provider] = {}
    endpoints = []
    for name in settings.all_models:
        if name.provider not in providers:
            providers[name.provider] = _open_provider(name.provider, settings, learned)
        limits = limits_of(name, _endpoint(settings, name.provider))
        endpoints.append(
            ModelEndpoint(providers[name.provider], name.model, _rates(settings, str(name)), limits)
        )
    context = _context(settings, gate=gate, observe=observe, trace=trace)
    return ModelChain(endpoints, context=context, preferences=settings.preferences)


def open_embedder(
    settings: Settings,
    *,
    gate: Gate,
    observe: Observe,
    environ: MutableMapping[str, str],
    trace: Trace = lambda _: None,
) -> Embedder | None:
    """Return the embedding model of the settings, or None; `environ` is as in `open_models`."""
    if settings.embeddings is None:
        return None
    drop_empty(environ)
    module = import_module("orchestrator.llm.openai")
    provider: Provider = module.OpenAIEmbeddings(_endpoint(settings, settings.embeddings.provider))
    endpoint = ModelEndpoint(provider, settings.embeddings.model, _rates(settings, str(settings.embeddings)))
    return Embedder(endpoint, _context(settings, gate=gate, observe=observe, trace=trace))


def _context(settings: Settings, *, gate: Gate, observe: Observe, trace: Trace) -> CallContext:
    return CallContext(gate, prices_of(settings), settings.llm_timeout_seconds, observe, trace)


def _open_provider(name: str, settings: Settings, learned: LearnedFacts) -> Provider:
    endpoint = _endpoint(settings, name)
    options = ProviderOptions(
        is_streaming=settings.llm_stream == "on", extra_body=settings.llm_extra_body or {}, learned=learned
    )
    # imported here: an SDK costs a second and some 50 MiB, and most processes need none
    module = import_module(f"orchestrator.llm.{endpoint.protocol}")
    opened = module.AnthropicProvider if endpoint.protocol == "anthropic" else module.OpenAIProvider
    provider: Provider = opened(endpoint, options=options)
    return provider


def _endpoint(settings: Settings, name: str) -> Endpoint:
    endpoint = settings.endpoint(name)
    assert endpoint is not None  # noqa: S101  # the settings refuse models of unknown endpoints
    return endpoint


def _rates(settings: Settings, name: str) -> Rates:
    requests, tokens = settings.llm_rpm or {}, settings.llm_tpm or {}
    return Rates(requests.get(name, requests.get("*")), tokens.get(name, tokens.get("*")))


def _completion(
    endpoint: ModelEndpoint, answer: StructuredAnswer, *, purpose: str, attempts: Sequence[CallRecord]
) -> Completion:
    provider, model = endpoint.name
    response = answer.response
    return Completion(
        text=replace_unstorable(response.text),
        value=answer.value,
        finish=response.finish,
        provider=provider,
        model=response.model or model,
        response_format=answer.response_format,
        purpose=purpose,
        is_fake=response.model.startswith(FAKE),
        attempts=tuple(attempts),
    )


def _cut(
    endpoint: ModelEndpoint, work: Work, output_tokens: int, *, is_short: bool
) -> ModelAnswerCut | BudgetExceeded:
    """Return the error for an answer that does not fit; `is_short`: the budget left less than `output_tokens`."""
    provider, model = endpoint.name
    details = {"provider": provider, "model": model}
    if is_short:
        return BudgetExceeded(
            f"The task's budget left {endpoint.name} too little room for its answer, which was cut: raise max_tokens "
            "or max_cost_dollars.",
            details=details,
        )
    return ModelAnswerCut(
        f"The answer of {endpoint.name} does not fit into {output_tokens} tokens, its reasoning included: raise "
        f"LLM_OUTPUT_TOKENS for {work}, or lower LLM_EFFORT.",
        details=details,
    )


def _most_useful(failures: Sequence[StepError]) -> StepError:
    """Return the failure to raise: one to wait for, else one to retry, else the first choice's."""
    if not failures:
        return NoModel()
    waits = [failure for failure in failures if isinstance(failure, MustWait)]
    if waits:
        return min(waits, key=lambda wait: float(wait.details.get("retry_after", 0)))
    return next((failure for failure in failures if failure.retryable), failures[0])
