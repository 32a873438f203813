"""`octollm models`: lists the models of the settings with what was learned about them, and tests them."""

import os
from collections.abc import Iterator, Sequence
from typing import Any

import click

from orchestrator import settings as settings_module
from orchestrator.cli.exit_status import ExitStatus
from orchestrator.cli.operator_session import stack_environ
from orchestrator.cli.output import json_text
from orchestrator.connections.redis_client import open_client
from orchestrator.llm.capabilities import Facts, LearnedFacts
from orchestrator.llm.model_probe import key_of, probe
from orchestrator.llm.pricing import Prices, prices_of
from orchestrator.llm.provider import Usage
from orchestrator.models.endpoint import CAPABILITIES
from orchestrator.models.model_choice import ModelName
from orchestrator.settings import Settings

_TESTED = (
    "test",
    "detail",
    "tested_at",
    "seconds",
    "first_text_seconds",
    "tokens_per_second",
    "reports_usage",
)
_THOUSAND = Usage(1_000, 0), Usage(0, 1_000)


@click.group(invoke_without_command=True)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def models(ctx: click.Context, /, *, as_json: bool) -> None:
    """List the models: their servers, prices, what was learned about them, and their speed."""
    if ctx.invoked_subcommand is not None:
        return
    known = settings_module.load(stack_environ())
    found = list(describe(known, _learned(known)))
    if as_json:
        click.echo(json_text(found))
        return
    if not found:
        click.echo("no model is configured: plans come from recipes (docs/how-to/use-a-model.md)")
    for model in found:
        click.echo(_line(model))


@models.command()
@click.argument("name", required=False)
def test(*, name: str | None) -> int:
    """Ask each model one small question, and remember what its server supports and how fast it is.

    NAME is one model (endpoint:model) or one endpoint. A test costs some hundred tokens. Exit status 1: one failed.
    """
    known = settings_module.load(stack_environ())
    learned, has_failed = _learned(known), False
    for chosen in _chosen(known.all_models, name):
        facts = probe(known, chosen, learned=learned, environ=os.environ)
        click.echo(_line(_described(known, chosen, facts, prices=prices_of(known))))
        has_failed = has_failed or facts.get("test") != "ok"
    return ExitStatus.FAILED if has_failed else ExitStatus.OK


def describe(known: Settings, learned: LearnedFacts) -> Iterator[dict[str, Any]]:
    """Yield each model of the settings as JSON values; a price that is not known is None."""
    prices = prices_of(known)
    for name in known.all_models:
        yield _described(known, name, learned.of(key_of(known, name)), prices=prices)


def _described(known: Settings, name: ModelName, facts: Facts, *, prices: Prices) -> dict[str, Any]:
    endpoint = known.endpoint(name.provider)
    assert endpoint is not None  # noqa: S101  # the settings refuse models of unknown endpoints
    per_thousand = [prices.cost(name, usage) for usage in _THOUSAND]
    # a thousand tokens, as some models cost more in long requests
    price = [None if cost is None else float(cost * 1_000) for cost in per_thousand]
    return {
        "name": str(name),
        "protocol": endpoint.protocol,
        "host": endpoint.host,
        "context_window": endpoint.context_window,
        "output_limit": endpoint.output_limit,
        "price": None if None in price else dict(zip(("input", "output"), price, strict=True)),
        "stated": dict(endpoint.capabilities),
        "learned": {fact: text == "yes" for fact, text in sorted(facts.items()) if fact not in _TESTED},
        "tested": {fact: facts[fact] for fact in _TESTED if fact in facts} or None,
    }


def _chosen(names: Sequence[ModelName], wanted: str | None) -> Sequence[ModelName]:
    chosen = [name for name in names if wanted in (None, str(name), name.provider)]
    if not chosen:
        known = ", ".join(map(str, names)) or "none"
        raise click.UsageError(f"{wanted or 'no model'} is not configured; the models are: {known}")
    return chosen


def _learned(known: Settings) -> LearnedFacts:
    return LearnedFacts(open_client(known.redis_url, timeout_seconds=1))


def _line(model: dict[str, Any]) -> str:
    price = model["price"]
    cost = f"${price['input']:g} / ${price['output']:g} per million tokens" if price else "price not known"
    capabilities = {**model["stated"], **model["learned"]}
    lacks = [name for name in (*CAPABILITIES, *capabilities) if capabilities.get(name) is False]
    without = f"; without {', '.join(dict.fromkeys(lacks))}" if lacks else ""
    return (
        f"{model['name']}\n    {model['host']} ({model['protocol']}); {cost}{without}\n    {_result(model)}"
    )


def _result(model: dict[str, Any]) -> str:
    tested = model["tested"]
    if tested is None:
        return f"not tested: octollm models test {model['name']}"
    if tested["test"] != "ok":
        return f"{tested['test']} at {tested['tested_at']}: {tested['detail']}"
    speed = f"{tested['seconds']} s"
    if "first_text_seconds" in tested:
        speed += f", first text after {tested['first_text_seconds']} s"
    if "tokens_per_second" in tested:
        speed += f", {tested['tokens_per_second']} tokens/s"
    return f"ok at {tested['tested_at']}: {speed}"
