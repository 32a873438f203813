"""The command about dead letters: steps that were given up because they killed their workers."""

from typing import Any

import click

from orchestrator.cli.access import Access
from orchestrator.cli.output import json_text
from orchestrator.cli.server import find_server


@click.command()
@click.option("--limit", type=click.IntRange(1, 100), default=20, show_default=True, help="At most so many.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_obj
def dead(access: Access, /, limit: int, as_json: bool) -> None:
    """List steps that killed their workers and were given up, newest first, and how to replay each.

    They are the token's tenant's: another one's are listed with a token of his.
    """
    listed = find_server(access).get(f"/v1/dead-steps?limit={limit}")
    if as_json:
        click.echo(json_text(listed))
        return
    if not listed["steps"]:
        click.echo("no step was given up")
    for step in listed["steps"]:
        click.echo(
            f"{step['failed_at']}  {step['task_id']} ({step['task_status']})  {step['step_id']}  {step['arm_id']}"
        )
        click.echo(f"    {step['error']['message']}")
        click.echo(f"    {_advice(step)}")


def _advice(step: dict[str, Any]) -> str:
    if step["retried_by"]:
        return f"replayed as {step['retried_by']}"
    # a plan or a verdict is no step of the plan, and runs again anyhow
    chosen = "" if step["step_id"].startswith("$") else f" --from {step['step_id']}"
    if step["task_status"] in ("queued", "processing"):
        return f"its task goes on; when it has ended: octollm retry {step['task_id']}{chosen}"
    return f"replay: octollm retry {step['task_id']}{chosen}"
