"""The cost of a call, by the operator's own prices, else by genai-prices; an unknown price is None, not 0."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from fnmatch import fnmatchcase
from importlib import import_module

from orchestrator.llm.completion import UsageBound
from orchestrator.llm.provider import Usage
from orchestrator.models.model_choice import ModelName, Price
from orchestrator.settings import Settings

FAKE = "fake-"
"""The prefix of our own fake server's models, which cost nothing."""

_MILLION = Decimal(1_000_000)


@dataclass(frozen=True)
class Prices:
    """The prices of this installation; `overrides` maps provider:model to the operator's own price.

    A key's model may be a pattern, such as `local:*`; an exact name takes precedence, then the longest pattern. `urls`
    maps the names of endpoints to their addresses, by which the list of prices knows the provider.
    """

    overrides: Mapping[str, Price] = field(default_factory=dict)
    urls: Mapping[str, str] = field(default_factory=dict)

    def cost(self, model: ModelName, usage: Usage, *, answering: str = "") -> Decimal | None:
        """Return the US dollars of a call, or None; `answering` is the model's name in its response, if known."""
        if (answering or model.model).startswith(FAKE):
            return Decimal(0)
        if (price := self._own(str(model))) is not None:
            return _by_price(price, usage)
        return _listed_cost(model, usage, url=self.urls.get(model.provider))

    def _own(self, name: str) -> Price | None:
        if name in self.overrides:
            return self.overrides[name]
        patterns = sorted((key for key in self.overrides if fnmatchcase(name, key)), key=len)
        return self.overrides[patterns[-1]] if patterns else None

    def bound(self, model: ModelName, *, input_tokens: int, output_tokens: int) -> UsageBound:
        """Return the upper bound of a call, with its cost if the price is known."""
        plain = Usage(input_tokens, output_tokens)
        written = Usage(input_tokens, output_tokens, cache_write_tokens=input_tokens)
        costs = [self.cost(model, plain), self.cost(model, written)]
        known = [cost for cost in costs if cost is not None]
        return UsageBound(input_tokens, output_tokens, max(known) if costs[0] is not None else None)


def prices_of(settings: Settings) -> Prices:
    """Return the prices of the settings: LLM_PRICES, then those of the endpoints, then the packaged list."""
    endpoints = settings.llm_endpoints or {}
    of_endpoints = {
        f"{name}:{pattern}": price
        for name, endpoint in endpoints.items()
        for pattern, price in endpoint.prices.items()
    }
    urls = {name: endpoint.url for name, endpoint in endpoints.items() if endpoint.url}
    return Prices({**of_endpoints, **(settings.llm_prices or {})}, urls)


def preload_prices() -> None:
    """Import the table of all models' prices once, which takes about a second."""
    import_module("genai_prices")


def _listed_cost(model: ModelName, usage: Usage, *, url: str | None) -> Decimal | None:
    """Return the US dollars of a call by genai-prices' packaged table, or None for a model that it lacks.

    `url` is that of a named endpoint.
    """
    import genai_prices  # noqa: PLC0415 - imports a table of all providers' models, and pydantic

    try:
        used = genai_prices.Usage(
            input_tokens=usage.input_tokens,
            output_tokens=usage.output_tokens,
            cache_read_tokens=usage.cached_tokens or None,
            cache_write_tokens=usage.cache_write_tokens or None,
        )
        if url:
            found = genai_prices.calc_price(used, model.model, provider_api_url=url)
        else:
            found = genai_prices.calc_price(used, model.model, provider_id=model.provider)
    except (LookupError, ValueError):
        return None
    return Decimal(found.total_price)


def _by_price(price: Price, usage: Usage) -> Decimal:
    cached = price.cached_input if price.cached_input is not None else price.input
    plain = max(usage.input_tokens - usage.cached_tokens, 0)
    dollars = plain * price.input + usage.cached_tokens * cached + usage.output_tokens * price.output
    return dollars / _MILLION
