"""The command about arms."""

import click

from orchestrator.cli.access import Access
from orchestrator.cli.output import json_text
from orchestrator.cli.server import find_server

_COLOURS = {"healthy": "green", "degraded": "yellow", "unavailable": "red"}


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_obj
def arms(access: Access, /, as_json: bool) -> None:
    """List the arms: status, live workers, queue, what each can do."""
    listed = find_server(access).get("/v1/arms")["arms"]
    if as_json:
        click.echo(json_text(listed))
        return
    for arm in listed:
        known = arm.get("metadata") or {}
        state = click.style(f"{arm['status']:<12}", fg=_COLOURS.get(arm["status"]))
        numbers = f"workers {known.get('workers', 0)}, queued {known.get('queue_depth', 0)}"
        click.echo(f"{arm['arm_id']:<16} {state} {numbers:<24} {', '.join(arm['capabilities'])}")
