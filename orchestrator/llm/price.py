"""Says what a call costs: by the operator's own prices, else by genai-prices; what nobody knows is None, never 0."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from importlib import import_module

from orchestrator.llm.interface import Bound, Usage
from orchestrator.models.model_choice import ModelName, Price

FAKE = "fake-"
"""How our own fake server calls its models; they cost nothing."""

_MILLION = Decimal(1_000_000)


@dataclass(frozen=True)
class Prices:
    """The prices that hold for this installation; `overrides` maps provider:model to the operator's own."""

    overrides: Mapping[str, Price] = field(default_factory=dict)

    def cost(self, model: ModelName, usage: Usage, *, answering: str = "") -> Decimal | None:
        """Return the US dollars of a call; `answering` is the model's name in the answer, where it is known."""
        if (answering or model.model).startswith(FAKE):
            return Decimal(0)
        if (price := self.overrides.get(str(model))) is not None:
            return _by_price(price, usage)
        # imported here, for it brings a table of all providers' models, and pydantic
        listed: Decimal | None = import_module("orchestrator.llm.price_list").cost(model, usage)
        return listed

    def bound(self, model: ModelName, *, input_tokens: int, output_tokens: int) -> Bound:
        """Return the most that a call can use, with its cost if the price is known."""
        plain = Usage(input_tokens, output_tokens)
        written = Usage(input_tokens, output_tokens, cache_write_tokens=input_tokens)
        costs = [self.cost(model, plain), self.cost(model, written)]
        known = [cost for cost in costs if cost is not None]
        return Bound(input_tokens, output_tokens, max(known) if costs[0] is not None else None)


def load() -> None:
    """Import the table of all models' prices: about a second, once a process."""
    import_module("orchestrator.llm.price_list")


def _by_price(price: Price, usage: Usage) -> Decimal:
    cached = price.cached_input if price.cached_input is not None else price.input
    plain = max(usage.input_tokens - usage.cached_tokens, 0)
    dollars = plain * price.input + usage.cached_tokens * cached + usage.output_tokens * price.output
    return dollars / _MILLION
