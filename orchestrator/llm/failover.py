"""Asks the models of the chain, the first choice first, and tells who answered and why others did not."""

import time
from collections.abc import Collection, Mapping, MutableMapping, Sequence
from dataclasses import replace
from importlib import import_module
from typing import Any

import structlog

from orchestrator.llm.answer_text import storable, without_reasoning
from orchestrator.llm.embedding import Embedder
from orchestrator.llm.gate import Gate, Rates
from orchestrator.llm.interface import Answer, Attempt, BudgetAccount, Completion, Form, Provider, Query
from orchestrator.llm.metered import Candidate, Meter, MeteredCalls, Observe
from orchestrator.llm.price import FAKE, Prices
from orchestrator.llm.prompt import Message
from orchestrator.llm.structured import FormMemory, Shaped, converse
from orchestrator.models.errors import MustWait, StepError, Stopped
from orchestrator.models.model_errors import ModelBusy, ModelError, NoModel
from orchestrator.rules.json_schema import schema_faults
from orchestrator.settings import Settings, drop_empty

log = structlog.get_logger(__name__)


class Models:
    """The models of this process; may be used by several threads at once."""

    def __init__(self, candidates: Sequence[Candidate], *, meter: Meter) -> None:
        self._candidates = tuple(candidates)
        self._meter = meter
        self._memory = FormMemory()

    @property
    def is_configured(self) -> bool:
        """Tell whether there is any model to ask."""
        return bool(self._candidates)

    @property
    def providers(self) -> tuple[str, ...]:
        """Return the providers of the chain, the first choice first."""
        return tuple(dict.fromkeys(candidate.provider.name for candidate in self._candidates))

    def complete(
        self,
        messages: Sequence[Message],
        schema: Mapping[str, Any] | None = None,
        *,
        max_output_tokens: int,
        deadline: float,
        purpose: str,
        budget: BudgetAccount | None = None,
        avoid: Collection[str] = (),
    ) -> Completion:
        """Return the first usable answer of the chain, by `deadline` (time.monotonic()).

        With a `schema` the completion's value follows it. Providers in `avoid` are asked last. `purpose` is the
        prompt's name and version, for the trace. Raises StepError: a ModelError that says whether the step may be
        tried again, MustWait, or the purse's; details.attempts tells all that happened.
        """
        attempts: list[Attempt] = []
        if schema is not None and (wrong := schema_faults(dict(schema))):
            raise ValueError(f"the schema of {purpose} can't be used: {wrong[0]}")
        try:
            return self._first_usable(
                Query(tuple(messages), max_output_tokens, deadline),
                schema,
                purpose=purpose,
                budget=budget,
                avoid=avoid,
                attempts=attempts,
            )
        except (StepError, Stopped) as error:
            error.details["attempts"] = [attempt.to_record() for attempt in attempts]
            raise

    def close(self) -> None:
        """Close all connections."""
        for candidate in self._candidates:
            candidate.provider.close()

    def _first_usable(
        self,
        query: Query,
        schema: Mapping[str, Any] | None,
        *,
        purpose: str,
        budget: BudgetAccount | None,
        avoid: Collection[str],
        attempts: list[Attempt],
    ) -> Completion:
        failures: list[StepError] = []
        for candidate in sorted(self._candidates, key=lambda candidate: candidate.provider.name in avoid):
            if failures and time.monotonic() >= query.deadline:
                break
            calls = MeteredCalls(candidate, meter=self._meter, budget=budget, attempts=attempts)
            try:
                shaped = self._ask(candidate, calls, query, schema)
            except (ModelError, ModelBusy) as error:
                if isinstance(error, ModelError) and not error.may_fail_over:
                    raise
                log.warning("model.failed", model=str(candidate.name), code=error.code, purpose=purpose)
                failures.append(error)
            else:
                return _completion(candidate, shaped, purpose=purpose, attempts=attempts)
        raise _worth_telling(failures)

    def _ask(
        self, candidate: Candidate, calls: MeteredCalls, query: Query, schema: Mapping[str, Any] | None
    ) -> Shaped:
        def ask(asked: Query) -> Answer:
            longest = time.monotonic() + self._meter.timeout_seconds
            return calls.ask(replace(asked, deadline=min(asked.deadline, longest)))

        if schema is None:
            answer = ask(query)
            return Shaped(replace(answer, text=without_reasoning(answer.text)), None, Form.TEXT)
        return converse(
            query,
            schema,
            ask=ask,
            forms=candidate.provider.forms,
            memory=self._memory,
            model=candidate.key,
        )


def open_models(
    settings: Settings, *, gate: Gate, observe: Observe, environ: MutableMapping[str, str]
) -> Models:
    """Return the models that the settings choose; imports only the SDKs that are needed.

    `environ` is what the SDKs read, os.environ: its empty variables are deleted, for they break on them.
    """
    drop_empty(environ)
    providers: dict[str, Provider] = {}
    candidates = []
    for name in settings.models:
        if name.provider not in providers:
            providers[name.provider] = _open_provider(name.provider, settings)
        candidates.append(Candidate(providers[name.provider], name.model, _rates(settings, str(name))))
    return Models(candidates, meter=_meter(settings, gate=gate, observe=observe))


def open_embedder(
    settings: Settings, *, gate: Gate, observe: Observe, environ: MutableMapping[str, str]
) -> Embedder | None:
    """Return the embedding model that the settings choose, or None; `environ` is as in `open_models`."""
    if settings.embeddings is None:
        return None
    drop_empty(environ)
    module = import_module("orchestrator.llm.openai")
    provider: Provider = module.OpenAIEmbeddings(
        api_key=settings.openai_api_key, base_url=settings.openai_base_url
    )
    candidate = Candidate(provider, settings.embeddings.model, _rates(settings, str(settings.embeddings)))
    return Embedder(candidate, _meter(settings, gate=gate, observe=observe))


def _meter(settings: Settings, *, gate: Gate, observe: Observe) -> Meter:
    return Meter(gate, Prices(settings.llm_prices or {}), settings.llm_timeout_seconds, observe)


def _open_provider(name: str, settings: Settings) -> Provider:
    common = {
        "api_key": getattr(settings, f"{name}_api_key"),
        "base_url": getattr(settings, f"{name}_base_url"),
        "is_streaming": settings.llm_stream == "on",
        "extra_body": settings.llm_extra_body,
    }
    # imported here: an SDK costs a second and some 50 MiB, and most processes need none
    module = import_module(f"orchestrator.llm.{name}")
    if name == "anthropic":
        claude: Provider = module.AnthropicProvider(**common)
        return claude
    flavour = settings.llm_flavour
    is_compatible = flavour == "openai-compatible" or (flavour == "auto" and bool(settings.openai_base_url))
    gpt: Provider = module.OpenAIProvider(**common, is_compatible=is_compatible)
    return gpt


def _rates(settings: Settings, name: str) -> Rates:
    requests, tokens = settings.llm_rpm or {}, settings.llm_tpm or {}
    return Rates(requests.get(name, requests.get("*")), tokens.get(name, tokens.get("*")))


def _completion(
    candidate: Candidate, shaped: Shaped, *, purpose: str, attempts: Sequence[Attempt]
) -> Completion:
    provider, model = candidate.name
    answer = shaped.answer
    return Completion(
        text=storable(answer.text),
        value=shaped.value,
        finish=answer.finish,
        provider=provider,
        model=answer.model or model,
        form=shaped.form,
        purpose=purpose,
        is_fake=answer.model.startswith(FAKE),
        attempts=tuple(attempts),
    )


def _worth_telling(failures: Sequence[StepError]) -> StepError:
    """Return the failure that says best what to do: wait for room, else try again, else mend something."""
    if not failures:
        return NoModel()
    waits = [failure for failure in failures if isinstance(failure, MustWait)]
    if waits:
        return min(waits, key=lambda wait: float(wait.details.get("retry_after", 0)))
    return next((failure for failure in failures if failure.retryable), failures[0])
