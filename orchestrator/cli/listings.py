"""The commands that list what there is: arms, recipes, dead letters."""

import json
from typing import Any

import click

from orchestrator.cli.client import ServerOptions, open_client
from orchestrator.cli.exit_status import RequestRefused, ServerUnreachable
from orchestrator.cli.output import json_text, printable

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
@click.pass_obj
def recipes(access: ServerOptions, /, as_json: bool) -> None:
    """List the recipes, plans that need no model: the server's, or this installation's where no server answers."""
    try:
        document, source = open_client(access).get("/v1/recipes"), ""
    except (ServerUnreachable, RequestRefused):
        if access.url:
            raise
        document, source = _installed(), "no server answers: the recipes of this installation"
    if as_json:
        click.echo(json_text(document))
        return
    for offer in document["recipes"]:
        click.echo(click.style(f"{offer['recipe']} {offer['version']}", bold=True))
        click.echo(f"    {printable(offer['description'])}")
        click.echo(f"    say:   {printable(offer['say'])}")
        click.echo(f"    needs: {offer['needs']}")
        for one in offer["parameters"]:
            click.echo(f"    -p {one['name']}={_type_of(one)}  {printable(one['description'])}".rstrip())
    for file in document["left_out"]:
        click.echo(f"{file['file']} can't be used: {printable(file['reason'])}", err=True)
    if source:
        click.echo(source, err=True)


def _installed() -> dict[str, Any]:
    from orchestrator.planner.recipes import describe, loaded  # noqa: PLC0415 - not needed where a server answers

    found = loaded()
    return {
        "recipes": [describe(one) for one in found.by_name.values()],
        "left_out": [dict(one) for one in found.left_out],
    }


def _type_of(parameter: dict[str, Any]) -> str:
    """Return a parameter's type in a few words, and its default."""
    schema = parameter["schema"]
    kind = "|".join(map(str, schema["enum"])) if "enum" in schema else str(schema.get("type", "any"))
    if parameter["default"] is not None:
        return f"{kind} (default {json.dumps(parameter['default'], ensure_ascii=False)})"
    return kind if parameter["required"] else f"{kind} (may be left out)"


def _advice(step: dict[str, Any]) -> str:
    if step["retried_by"]:
        return f"replayed as {step['retried_by']}"
    # $plan and $judge are not steps of the plan; every retry runs them again
    chosen = "" if step["step_id"].startswith("$") else f" --from {step['step_id']}"
    if step["task_status"] in ("queued", "processing"):
        return f"its task is still running; after it ends: octollm retry {step['task_id']}{chosen}"
    return f"replay: octollm retry {step['task_id']}{chosen}"
