"""The cost of a call, by the operator's own prices, else by genai-prices; an unknown price is None, not 0."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from importlib import import_module

from orchestrator.llm.completion import UsageBound
from orchestrator.llm.provider import Usage
from orchestrator.models.model_choice import ModelName, Price

FAKE = "fake-"
"""The prefix of our own fake server's models, which cost nothing."""

_MILLION = Decimal(1_000_000)


@dataclass(frozen=True)
class Prices:
    """The prices of this installation; `overrides` maps provider:model to the operator's own price."""

    overrides: Mapping[str, Price] = field(default_factory=dict)

    def cost(self, model: ModelName, usage: Usage, *, answering: str = "") -> Decimal | None:
        """Return the US dollars of a call, or None; `answering` is the model's name in its response, if known."""
        if (answering or model.model).startswith(FAKE):
            return Decimal(0)
        if (price := self.overrides.get(str(model))) is not None:
            return _by_price(price, usage)
        return _listed_cost(model, usage)

    def bound(self, model: ModelName, *, input_tokens: int, output_tokens: int) -> UsageBound:
        """Return the upper bound of a call, with its cost if the price is known."""
        plain = Usage(input_tokens, output_tokens)
        written = Usage(input_tokens, output_tokens, cache_write_tokens=input_tokens)
        costs = [self.cost(model, plain), self.cost(model, written)]
        known = [cost for cost in costs if cost is not None]
        return UsageBound(input_tokens, output_tokens, max(known) if costs[0] is not None else None)


def preload_prices() -> None:
    """Import the table of all models' prices once, which takes about a second."""
    import_module("genai_prices")


def _listed_cost(model: ModelName, usage: Usage) -> Decimal | None:
    """Return the US dollars of a call by genai-prices' packaged table, or None for a model that it lacks."""
    import genai_prices  # noqa: PLC0415 - imports a table of all providers' models, and pydantic

    try:
        found = genai_prices.calc_price(
            genai_prices.Usage(
                input_tokens=usage.input_tokens,
                output_tokens=usage.output_tokens,
                cache_read_tokens=usage.cached_tokens or None,
                cache_write_tokens=usage.cache_write_tokens or None,
            ),
            model.model,
            provider_id=model.provider,
        )
    except (LookupError, ValueError):
        return None
    return Decimal(found.total_price)


def _by_price(price: Price, usage: Usage) -> Decimal:
    cached = price.cached_input if price.cached_input is not None else price.input
    plain = max(usage.input_tokens - usage.cached_tokens, 0)
    dollars = plain * price.input + usage.cached_tokens * cached + usage.output_tokens * price.output
    return dollars / _MILLION
