"""The settings for models, rates, prices and parameters are parsed."""

from decimal import Decimal

import pytest

from orchestrator.models.model_choice import (
    ModelName,
    Price,
    default_models,
    parse_bodies,
    parse_chain,
    parse_limits,
    parse_prices,
)


def test_a_chain_keeps_its_order_and_the_colons_of_a_models_name() -> None:
    assert parse_chain("anthropic:claude-x, openai:llama3:8b") == (
        ModelName("anthropic", "claude-x"),
        ModelName("openai", "llama3:8b"),
    )


@pytest.mark.parametrize("text", ["gpt-6", "Google:gemini", "openai:", "openai:a b", "openai:a,openai:a"])
def test_a_wrong_chain_is_rejected(text: str) -> None:
    with pytest.raises(ValueError, match=r"provider|duplicate"):
        parse_chain(text)


def test_a_limit_applies_to_all_models_or_to_one() -> None:
    assert parse_limits("60") == {"*": 60}
    assert parse_limits("openai:llama3:8b=5, 60") == {"openai:llama3:8b": 5, "*": 60}


@pytest.mark.parametrize("text", ["0", "-1", "many", "openai:m=0", "m=5"])
def test_a_wrong_limit_is_rejected(text: str) -> None:
    with pytest.raises(ValueError, match=r"whole number|provider"):
        parse_limits(text)


def test_prices_are_exact_numbers() -> None:
    prices = parse_prices('{"openai:m": {"input": 0.1, "output": 2}}')

    assert prices == {"openai:m": Price(Decimal("0.1"), Decimal(2))}


@pytest.mark.parametrize(
    "text",
    ["5", "[]", "{", '{"openai:m": 1}', '{"openai:m": {"input": 1}}', '{"m": {"input": 1, "output": 1}}',
     '{"openai:m": {"input": -1, "output": 1}}', '{"openai:m": {"input": "1", "output": 1}}',
     '{"openai:m": {"input": NaN, "output": 1}}', '{"openai:m": {"input": true, "output": 1}}'],
)  # fmt: skip
def test_wrong_prices_are_rejected(text: str) -> None:
    with pytest.raises(ValueError, match=r"JSON|provider|prices"):
        parse_prices(text)


def test_extra_parameters_belong_to_a_model() -> None:
    assert parse_bodies('{"openai:m": {"reasoning_effort": "low"}}') == {
        "openai:m": {"reasoning_effort": "low"}
    }
    with pytest.raises(ValueError, match="JSON"):
        parse_bodies('{"openai:m": 1}')


def test_the_registry_has_a_model_for_each_provider() -> None:
    assert set(default_models()) == {"anthropic", "openai"}
