"""Opens models on the fake server, through the real SDKs with strict response validation."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.llm.anthropic import AnthropicProvider
from orchestrator.llm.embedding import Embedder
from orchestrator.llm.failover import Models
from orchestrator.llm.gate import FallbackGate, Gate, Policy, Rates
from orchestrator.llm.interface import Attempt, BudgetAccount, Completion, Provider
from orchestrator.llm.metered import Candidate, Meter
from orchestrator.llm.openai import OpenAIEmbeddings, OpenAIProvider
from orchestrator.llm.price import Prices
from orchestrator.llm.prompt import Message, Role
from orchestrator.models.model_choice import Price
from tests.fake_llm.server import FakeLLM

HELLO = [Message(Role.SYSTEM, "Be brief."), Message(Role.USER, "Hello.")]
PURPOSE = "test@1.0.0"


def provider(fake: FakeLLM, name: str, *, streams: bool = False, strict: bool = True) -> Provider:
    """Open a provider on the fake server."""
    if name == "openai":
        return OpenAIProvider(api_key="k", base_url=fake.openai_url, is_streaming=streams, is_strict=strict)
    return AnthropicProvider(api_key="k", base_url=fake.anthropic_url, is_streaming=streams, is_strict=strict)


def embedder(fake: FakeLLM) -> Embedder:
    """Open an embedding model on the fake server: texts that share words have similar vectors."""
    opened = OpenAIEmbeddings(api_key="k", base_url=fake.openai_url, is_strict=True)
    meter = Meter(FallbackGate(), Prices(), 10, lambda attempt: None)
    return Embedder(Candidate(opened, "fake-words"), meter)


@dataclass(frozen=True)
class Link:
    """How a caller reaches the fake server; `strict` validates responses by the SDK's types."""

    streams: bool = False
    strict: bool = True
    timeout_seconds: float = 10


_DEFAULT_LINK = Link()


class ModelCaller:
    """A caller of a chain of models; `attempts` has every observed attempt."""

    def __init__(
        self,
        fake: FakeLLM,
        chain: Sequence[str] = ("openai:fake-model",),
        *,
        gate: Gate | None = None,
        rates: Rates | None = None,
        prices: Mapping[str, Price] | None = None,
        link: Link = _DEFAULT_LINK,
    ) -> None:
        self.attempts: list[Attempt] = []
        names = [name.partition(":") for name in chain]
        candidates = [
            Candidate(provider(fake, kind, streams=link.streams, strict=link.strict), model, rates or Rates())
            for kind, _, model in names
        ]
        meter = Meter(
            gate or FallbackGate(Policy()), Prices(prices or {}), link.timeout_seconds, self.attempts.append
        )
        self.models = Models(candidates, meter=meter)

    def ask(
        self,
        schema: Mapping[str, Any] | None = None,
        *,
        seconds: float = 10,
        budget: BudgetAccount | None = None,
        tokens: int = 100,
        avoid: Sequence[str] = (),
        messages: Sequence[Message] = HELLO,
    ) -> Completion:
        """Ask and return the completion."""
        return self.models.complete(
            messages,
            schema,
            max_output_tokens=tokens,
            deadline=time.monotonic() + seconds,
            purpose=PURPOSE,
            budget=budget,
            avoid=avoid,
        )
