"""Looks prices up in genai-prices' table, which comes with the package: nothing is fetched."""

from decimal import Decimal

import genai_prices

from orchestrator.llm.interface import Usage
from orchestrator.models.model_choice import ModelName


def cost(model: ModelName, usage: Usage) -> Decimal | None:
    """Return the US dollars of a call; None for a model that the table does not know."""
    told = genai_prices.Usage(
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        cache_read_tokens=usage.cached_tokens or None,
        cache_write_tokens=usage.cache_write_tokens or None,
    )
    try:
        found = genai_prices.calc_price(told, model.model, provider_id=model.provider)
    except (LookupError, ValueError):
        return None
    return Decimal(found.total_price)
