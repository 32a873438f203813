"""Opens models on the fake server, through the real SDKs with strict response validation."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from orchestrator.llm.anthropic import AnthropicProvider
from orchestrator.llm.completion import BudgetAccount, CallRecord, Completion, CompletionRequest
from orchestrator.llm.embedding import Embedder
from orchestrator.llm.gate import FallbackGate, Gate, Policy, Rates
from orchestrator.llm.model_call import CallContext, ModelEndpoint
from orchestrator.llm.model_chain import ModelChain
from orchestrator.llm.openai import OpenAIEmbeddings, OpenAIProvider
from orchestrator.llm.pricing import Prices
from orchestrator.llm.prompt import Message, Role
from orchestrator.llm.provider import Provider
from orchestrator.models.model_choice import Price
from orchestrator.models.model_limits import ModelLimits
from orchestrator.models.model_work import ModelPreferences, Work
from tests.fake_llm.server import FakeLLM

HELLO = [Message(Role.SYSTEM, "Be brief."), Message(Role.USER, "Hello.")]
PURPOSE = "test@1.0.0"


def provider(fake: FakeLLM, name: str, *, streams: bool = False, strict: bool = True) -> Provider:
    """Open a provider on the fake server."""
    if name == "openai":
        return OpenAIProvider(api_key="k", base_url=fake.openai_url, is_streaming=streams, is_strict=strict)
    return AnthropicProvider(api_key="k", base_url=fake.anthropic_url, is_streaming=streams, is_strict=strict)


def embedder(fake: FakeLLM) -> Embedder:
    """Open an embedding model on the fake server: texts that share words get similar vectors."""
    opened = OpenAIEmbeddings(api_key="k", base_url=fake.openai_url, is_strict=True)
    context = CallContext(FallbackGate(), Prices(), 10, lambda attempt: None)
    return Embedder(ModelEndpoint(opened, "fake-words"), context)


@dataclass
class ModelCaller:
    """A client of a chain of models on the fake server; `attempts` lists all calls that were observed.

    `tokens` is the output limit of every kind of work; None leaves it to `preferences` and to the models' `limits`.
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
    attempts: list[CallRecord] = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        names = [name.partition(":") for name in self.chain]
        endpoints = [
            ModelEndpoint(
                provider(self.fake, kind, streams=self.streams, strict=self.strict),
                model,
                self.rates,
                self.limits.get(f"{kind}:{model}", ModelLimits()),
            )
            for kind, _, model in names
        ]
        context = CallContext(self.gate, Prices(self.prices), self.timeout_seconds, self.attempts.append)
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
