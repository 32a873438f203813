"""The commands retry, fork and replay: run an ended task again, or say what that would run and cost."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

import click

from orchestrator.cli.client import ServerOptions, open_client
from orchestrator.cli.exit_status import EXIT_STATUSES
from orchestrator.cli.output import json_text, printable
from orchestrator.models.wording import count_of

_REASONS = {
    "from_step": "as asked",
    "inputs": "its inputs are changed",
    "prompt": "it is told something else",
    "model": "another model is asked",
    "replay": "with the answers of the first time",
    "failed": "failed",
    "failed_items": "items failed",
    "skipped": "was skipped",
    "not_done": "is not done",
    "depends_on": "depends on one that runs",
}


_TASK = click.argument("task_id", metavar="TASK")
_FROM = click.option(
    "--from", "from_step", metavar="STEP", help="Run STEP again, and every step that depends on it."
)
_DRY_RUN = click.option(
    "--dry-run", is_flag=True, help="Only print which steps would be reused and which would run."
)
_AS_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON and nothing else on stdout.")


@click.command(epilog=EXIT_STATUSES)
@_TASK
@_FROM
@_DRY_RUN
@_AS_JSON
@click.pass_obj
def retry(
    access: ServerOptions, /, task_id: str, from_step: str | None, dry_run: bool, as_json: bool
) -> None:
    """Run TASK, which has ended, again as a new task that reuses finished steps; print the new task's id."""
    _run(access, task_id, {"from_step": from_step, "dry_run": dry_run}, as_json=as_json)


@click.command(epilog=EXIT_STATUSES)
@_TASK
@click.option(
    "--input",
    "inputs",
    multiple=True,
    metavar="STEP.NAME=VALUE",
    help="Give STEP another input: VALUE is JSON, else a text; null takes the input away.",
)
@click.option("--model", metavar="PROVIDER:MODEL", help="Have this model do the steps that ask one.")
@click.option(
    "--prompt", "prompts", multiple=True, metavar="STEP=TEXT", help="Tell STEP something in addition."
)
@click.option("--plan-prompt", metavar="TEXT", help="Tell the planner something, which then plans again.")
@click.option(
    "--criterion", "criteria", multiple=True, metavar="TEXT", help="Judge by this instead; may be repeated."
)
@_FROM
@_DRY_RUN
@_AS_JSON
@click.pass_obj
def fork(
    access: ServerOptions, /, task_id: str, from_step: str | None, dry_run: bool, as_json: bool, **given: Any
) -> None:
    """Run TASK, which has ended, again with changes; print the new task's id.

    Only what the changes touch runs, with every step that depends on it.
    """
    changes = dict(_changes(given))
    if not changes:
        raise click.UsageError(
            "nothing is changed: name --input, --model, --prompt, --plan-prompt or --criterion, or use octollm retry"
        )
    _run(access, task_id, {"from_step": from_step, "set": changes, "dry_run": dry_run}, as_json=as_json)


@click.command(epilog=EXIT_STATUSES)
@_TASK
@click.option("--live-on-miss", is_flag=True, help="Ask a model where no answer was kept; this costs.")
@_DRY_RUN
@_AS_JSON
@click.pass_obj
def replay(access: ServerOptions, /, task_id: str, live_on_miss: bool, dry_run: bool, as_json: bool) -> None:
    """Run TASK, which has ended, again with the answers that its models gave; print the new task's id.

    It costs nothing, and no step writes.
    """
    body = {"replay": True, "live_on_miss": live_on_miss, "dry_run": dry_run}
    _run(access, task_id, body, as_json=as_json)


def _run(access: ServerOptions, task_id: str, body: Mapping[str, Any], *, as_json: bool) -> None:
    given = {name: value for name, value in body.items() if value}
    answer = open_client(access).post(f"/v1/tasks/{task_id}/retry", given or None)
    if as_json:
        click.echo(json_text(answer))
    elif body["dry_run"]:
        _print_preview(answer)
    else:
        click.echo(answer["task_id"])


def _changes(given: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield the members of `set` that the options give."""
    inputs: dict[str, dict[str, Any]] = {}
    for text in given["inputs"]:
        place, value = _split(text, "--input", "STEP.NAME=VALUE")
        step, dot, name = place.partition(".")
        if not dot or not name:
            raise click.UsageError(f"--input takes STEP.NAME=VALUE, not {text!r}")
        inputs.setdefault(step, {})[name] = _value(value)
    if inputs:
        yield "inputs", inputs
    if given["model"]:
        yield "model", given["model"]
    prompts = dict(_split(text, "--prompt", "STEP=TEXT") for text in given["prompts"])
    if given["plan_prompt"]:
        prompts["$plan"] = given["plan_prompt"]
    if prompts:
        yield "prompt", prompts
    if given["criteria"]:
        yield "criteria", list(given["criteria"])


def _split(text: str, option: str, shape: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise click.UsageError(f"{option} takes {shape}, not {text!r}")
    return name, value


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _print_preview(preview: Mapping[str, Any]) -> None:
    for line in _lines(preview):
        click.echo(line)


def _lines(preview: Mapping[str, Any]) -> Iterator[str]:
    if not preview["is_planned"]:
        yield "a plan is made first, at a cost that is not known"
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
