"""The command retry: runs an ended task again, or says what that would run and cost."""

from collections.abc import Iterator, Mapping
from typing import Any

import click

from orchestrator.cli.client import ServerOptions, open_client
from orchestrator.cli.exit_status import EXIT_STATUSES
from orchestrator.cli.output import json_text, printable
from orchestrator.models.wording import count_of

_REASONS = {
    "from_step": "as asked",
    "failed": "failed",
    "failed_items": "items failed",
    "skipped": "was skipped",
    "not_done": "is not done",
    "depends_on": "depends on one that runs",
}


@click.command(epilog=EXIT_STATUSES)
@click.argument("task_id", metavar="TASK")
@click.option(
    "--from", "from_step", metavar="STEP", help="Run STEP again, and every step that depends on it."
)
@click.option("--dry-run", is_flag=True, help="Only print which steps would be reused and which would run.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON and nothing else on stdout.")
@click.pass_obj
def retry(
    access: ServerOptions, /, task_id: str, from_step: str | None, dry_run: bool, as_json: bool
) -> None:
    """Run TASK, which has ended, again as a new task that reuses finished steps; print the new task's id."""
    body = {
        **({"from_step": from_step} if from_step else {}),
        **({"dry_run": True} if dry_run else {}),
    }
    answer = open_client(access).post(f"/v1/tasks/{task_id}/retry", body or None)
    if as_json:
        click.echo(json_text(answer))
    elif dry_run:
        _print_preview(answer)
    else:
        click.echo(answer["task_id"])


def _print_preview(preview: Mapping[str, Any]) -> None:
    for line in _lines(preview):
        click.echo(line)


def _lines(preview: Mapping[str, Any]) -> Iterator[str]:
    if not preview["is_planned"]:
        yield "the task was never planned: it is planned first"
        return
    for step in preview["reused"]:
        yield f"reuse  {printable(step['step_id'])}  {step['arm_id']}, from {step['task_id']}"
    for step in preview["runs"]:
        items = step["items"]
        more = f", {items['runs']} of {count_of(items['runs'] + items['reused'], 'item')}" if items else ""
        asks = ", asks a person first" if step["asks"] else ""
        yield (
            f"run    {printable(step['step_id'])}  {step['arm_id']}.{step['action']}, "
            f"{_REASONS.get(step['reason'], step['reason'])}{more}{asks}"
        )
    tokens, cost = preview["estimated_tokens"], preview["estimated_cost_dollars"]
    price = "at a cost that is not known" if cost is None else f"for ${cost:.4f}"
    yield f"before they used {'tokens that are not known' if tokens is None else count_of(tokens, 'token')}, {price}"
