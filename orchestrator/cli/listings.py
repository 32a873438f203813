"""The commands that list what there is: arms, recipes, dead letters."""

from typing import Any

import click

from orchestrator.cli.client import ServerOptions, open_client
from orchestrator.cli.output import json_text

_COLOURS = {"healthy": "green", "degraded": "yellow", "unavailable": "red"}


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_obj
def arms(access: ServerOptions, /, as_json: bool) -> None:
    """List the arms: status, live workers, queue, what each can do."""
    document = open_client(access).get("/v1/arms")["arms"]
    if as_json:
        click.echo(json_text(document))
        return
    for arm in document:
        metadata = arm.get("metadata") or {}
        state = click.style(f"{arm['status']:<12}", fg=_COLOURS.get(arm["status"]))
        numbers = f"workers {metadata.get('workers', 0)}, queued {metadata.get('queue_depth', 0)}"
        click.echo(f"{arm['arm_id']:<16} {state} {numbers:<24} {', '.join(arm['capabilities'])}")


@click.command()
@click.option(
    "--limit", type=click.IntRange(1, 100), default=20, show_default=True, help="List at most this many."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_obj
def dead(access: ServerOptions, /, limit: int, as_json: bool) -> None:
    """List steps that were given up because they killed their workers, newest first, with the command to replay each.

    Only the token's tenant is listed.
    """
    document = open_client(access).get(f"/v1/dead-steps?limit={limit}")
    if as_json:
        click.echo(json_text(document))
        return
    if not document["steps"]:
        click.echo("no step was given up")
    for step in document["steps"]:
        click.echo(
            f"{step['failed_at']}  {step['task_id']} ({step['task_status']})  {step['step_id']}  {step['arm_id']}"
        )
        click.echo(f"    {step['error']['message']}")
        click.echo(f"    {_advice(step)}")


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def recipes(as_json: bool) -> None:
    """List the recipes of this installation: which goal each one fits, what it needs and does."""
    from orchestrator.planner import recipe  # noqa: PLC0415 - the checks of plans, which --help does not need

    offers = [recipe.describe(one) for one in recipe.recipes()]
    if as_json:
        click.echo(json_text(offers))
        return
    for offer in offers:
        click.echo(click.style(f"{offer['recipe']} {offer['version']}", bold=True))
        click.echo(f"    say:   {offer['say']}")
        click.echo(f"    needs: {offer['needs']}")
        click.echo(f"    {offer['description']}")


def _advice(step: dict[str, Any]) -> str:
    if step["retried_by"]:
        return f"replayed as {step['retried_by']}"
    # $plan and $judge are not steps of the plan; every retry runs them again
    chosen = "" if step["step_id"].startswith("$") else f" --from {step['step_id']}"
    if step["task_status"] in ("queued", "processing"):
        return f"its task is still running; after it ends: octollm retry {step['task_id']}{chosen}"
    return f"replay: octollm retry {step['task_id']}{chosen}"
