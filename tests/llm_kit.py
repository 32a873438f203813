"""Opens models on the fake server, through the real SDKs with strict response validation."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from orchestrator.llm.anthropic import AnthropicProvider
from orchestrator.llm.capabilities import LearnedFacts
from orchestrator.llm.completion import BudgetAccount, CallRecord, Completion, CompletionRequest
from orchestrator.llm.embedding import Embedder
from orchestrator.llm.gate import FallbackGate, Gate, Policy, Rates
from orchestrator.llm.model_call import CallContext, ModelEndpoint
from orchestrator.llm.model_chain import ModelChain
from orchestrator.llm.openai import OpenAIEmbeddings, OpenAIProvider
from orchestrator.llm.pricing import Prices
from orchestrator.llm.prompt import Message, Role
from orchestrator.llm.provider import Provider, ProviderOptions
from orchestrator.models.endpoint import Endpoint
from orchestrator.models.model_choice import Price
from orchestrator.models.model_limits import ModelLimits
from orchestrator.models.model_work import ModelPreferences, Work
from orchestrator.observability import tracing
from tests.fake_llm.server import FakeLLM

HELLO = [Message(Role.SYSTEM, "Be brief."), Message(Role.USER, "Hello.")]
PURPOSE = "test@1.0.0"


def endpoint_of(fake: FakeLLM, name: str, **members: Any) -> Endpoint:
    """Return an endpoint on the fake server; one named anthropic speaks Anthropic's protocol, any other OpenAI's."""
    protocol = "anthropic" if name == "anthropic" else "openai"
    url = fake.anthropic_url if protocol == "anthropic" else fake.openai_url
    stated = {"max_completion_tokens": True} if name == "openai" else {}
    own: dict[str, Any] = {"protocol": protocol, "url": url, "api_key": "k", "capabilities": stated}
    return Endpoint(name=name, **{**own, **members})


def provider(
    fake: FakeLLM,
    name: str,
    *,
    streams: bool = False,
    strict: bool = True,
    learned: LearnedFacts | None = None,
    **members: Any,
) -> Provider:
    """Open a provider on the fake server; `members` are those of its endpoint."""
    options = ProviderOptions(is_streaming=streams, is_strict=strict, learned=learned or LearnedFacts())
    endpoint = endpoint_of(fake, name, **members)
    if endpoint.protocol == "openai":
        return OpenAIProvider(endpoint, options=options)
    return AnthropicProvider(endpoint, options=options)


def embedder(fake: FakeLLM) -> Embedder:
    """Open an embedding model on the fake server: texts that share words get similar vectors."""
    opened = OpenAIEmbeddings(endpoint_of(fake, "openai"), options=ProviderOptions(is_strict=True))
    context = CallContext(FallbackGate(), Prices(), 10, lambda attempt: None)
    return Embedder(ModelEndpoint(opened, "fake-words"), context)


@dataclass
class ModelCaller:
    """A client of a chain of models on the fake server; `attempts` lists all calls that were observed.

    `tokens` is the output limit of every kind of work; None leaves it to `preferences` and to the models' `limits`.
    `at` maps endpoints to servers of their own; `stated` are the endpoints' capabilities.
    """

    fake: FakeLLM
    chain: Sequence[str] = ("openai:fake-model",)
    gate: Gate = field(default_factory=lambda: FallbackGate(Policy()), kw_only=True)
    rates: Rates = field(default_factory=Rates, kw_only=True)
    prices: Mapping[str, Price] = field(default_factory=dict, kw_only=True)
    streams: bool = field(default=False, kw_only=True)
    strict: bool = field(default=True, kw_only=True)
    timeout_seconds: float = field(default=10, kw_only=True)
    tokens: int | None = field(default=100, kw_only=True)
    preferences: ModelPreferences = field(default_factory=ModelPreferences, kw_only=True)
    limits: Mapping[str, ModelLimits] = field(default_factory=dict, kw_only=True)
    learned: LearnedFacts = field(default_factory=LearnedFacts, kw_only=True)
    stated: Mapping[str, bool] | None = field(default=None, kw_only=True)
    at: Mapping[str, FakeLLM] = field(default_factory=dict, kw_only=True)
    attempts: list[CallRecord] = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        names = [name.partition(":") for name in self.chain]
        members: dict[str, Any] = {} if self.stated is None else {"capabilities": self.stated}
        endpoints = [
            ModelEndpoint(
                provider(
                    self.at.get(kind, self.fake),
                    kind,
                    streams=self.streams,
                    strict=self.strict,
                    learned=self.learned,
                    **members,
                ),
                model,
                self.rates,
                self.limits.get(f"{kind}:{model}", ModelLimits()),
            )
            for kind, _, model in names
        ]
        context = CallContext(
            self.gate,
            Prices(self.prices),
            self.timeout_seconds,
            self.attempts.append,
            tracing.model_called,
        )
        chosen = self.preferences
        if self.tokens is not None:
            chosen = replace(chosen, output_tokens=dict.fromkeys(Work, self.tokens))
        self.models = ModelChain(endpoints, context=context, preferences=chosen)

    def ask(
        self,
        schema: Mapping[str, Any] | None = None,
        *,
        seconds: float = 10,
        budget: BudgetAccount | None = None,
        work: Work = Work.ANSWER,
        avoid: Sequence[str] = (),
        messages: Sequence[Message] = HELLO,
    ) -> Completion:
        """Ask the chain; return the completion."""
        deadline = time.monotonic() + seconds
        request = CompletionRequest(messages, PURPOSE, work, deadline, schema, avoid)
        return self.models.complete(request, budget=budget)
