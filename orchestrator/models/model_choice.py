"""Parses the settings about models: their names, rates, prices and extra parameters."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from fnmatch import fnmatchcase
from functools import cache
from types import MappingProxyType
from typing import Any, NamedTuple

from orchestrator.registry.sources import REGISTRY

PROVIDERS = ("anthropic", "openai")
_NAME = re.compile(r"([a-z][a-z0-9_-]{0,31}):(\S{1,200})")


class ModelName(NamedTuple):
    """A model at a provider or at an endpoint of LLM_ENDPOINTS; written provider:model or endpoint:model."""

    provider: str
    model: str

    def __str__(self) -> str:
        return f"{self.provider}:{self.model}"


@dataclass(frozen=True)
class Price:
    """US dollars per million tokens; cached input costs as much as other input unless it has its own price."""

    input: Decimal
    output: Decimal
    cached_input: Decimal | None = None


def parse_chain(text: str) -> tuple[ModelName, ...]:
    """Parse provider:model names separated by commas, the first choice first. Raises ValueError."""
    chain = tuple(_name(part.strip()) for part in text.split(",") if part.strip())
    if len(set(chain)) != len(chain):
        raise ValueError("a list without duplicate models")
    return chain


def parse_embeddings(text: str) -> ModelName:
    """Parse openai:MODEL or endpoint:MODEL; Anthropic has no embeddings. Raises ValueError."""
    if text.startswith("anthropic:") or ":" not in text:
        raise ValueError(
            "openai:MODEL (or the model of another server at OPENAI_BASE_URL), or ENDPOINT:MODEL"
        )
    return _name(text)


def parse_limits(text: str) -> Mapping[str, int]:
    """Parse one number for all models, or provider:model=number pairs separated by commas.

    Returns {provider:model: number}, with the number for all models under `*`. Raises ValueError.
    """
    limits: dict[str, int] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, _, number = part.rpartition("=")
        if not re.fullmatch(r"[1-9]\d{0,11}", number):
            raise ValueError("a whole number above 0, or provider:model=number pairs separated by commas")
        limits[str(_name(name)) if name else "*"] = int(number)
    return MappingProxyType(limits)


def parse_prices(text: str) -> Mapping[str, Price]:
    """Parse JSON {"provider:model": {"input": 0.15, "output": 0.6}}. Raises ValueError."""
    prices = {}
    for name, price in _object(text).items():
        try:
            prices[str(_name(name))] = parse_price(price)
        except TypeError:
            raise ValueError(
                'JSON like {"openai:MODEL": {"input": 0.15, "output": 0.6, "cached_input": 0.1}}'
            ) from None
    return MappingProxyType(prices)


def parse_price(price: Any) -> Price:
    """Return a price of {"input": dollars, "output": dollars, "cached_input": dollars}, the last one optional.

    Raises TypeError for anything else, ValueError for a number that is no price.
    """
    if not isinstance(price, dict) or not {"input", "output"} <= price.keys() <= _PRICED:
        raise TypeError("prices with `input`, `output` and perhaps `cached_input`")
    return Price(**{kind: _dollars(number) for kind, number in price.items()})


def parse_bodies(text: str) -> Mapping[str, Mapping[str, Any]]:
    """Parse JSON {"provider:model": {parameter: value}}. Raises ValueError."""
    bodies = _object(text)
    if not all(isinstance(body, dict) for body in bodies.values()):
        raise ValueError('JSON like {"openai:MODEL": {"reasoning_effort": "low"}}')
    if any(body.keys() & _OUTPUT_LIMITS for body in bodies.values()):
        raise ValueError("without an output limit: set LLM_OUTPUT_TOKENS, which budgets reserve")
    return MappingProxyType({str(_name(name)): body for name, body in bodies.items()})


def default_models() -> Mapping[str, str]:
    """Return {provider: its default model}, from the registry, for when LLM_CHAIN is unset."""
    return MappingProxyType(_models()["default"])


def needs_responses(model: str) -> bool:
    """Tell whether OpenAI serves a model only by its Responses API, by the patterns of the registry."""
    return any(fnmatchcase(model, pattern) for pattern in _models()["responses"])


@cache
def _models() -> Mapping[str, Any]:
    return MappingProxyType(json.loads((REGISTRY / "models.json").read_text("utf-8")))


_PRICED = {"input", "output", "cached_input"}
_OUTPUT_LIMITS = {"max_tokens", "max_completion_tokens", "max_output_tokens"}


def _name(text: str) -> ModelName:
    found = _NAME.fullmatch(text)
    if not found:
        raise ValueError(
            f"provider:model, where the provider is one of {', '.join(PROVIDERS)} or an endpoint of LLM_ENDPOINTS"
        )
    return ModelName(found[1], found[2])


def _object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text, parse_float=Decimal)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise ValueError("a JSON object")
    return value


def _dollars(number: Any) -> Decimal:
    try:
        # str: the float of a TOML file as it was written
        dollars = Decimal(str(number)) if type(number) in (int, float, Decimal) else Decimal("nan")
    except InvalidOperation:
        dollars = Decimal("nan")
    if not dollars.is_finite() or dollars < 0:
        raise ValueError("prices of at least 0")
    return dollars
