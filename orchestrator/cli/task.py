"""The commands about tasks: run, submit, watch, status, cancel, retry."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from orchestrator.cli.access import Access
from orchestrator.cli.contract import read_context, read_criterion, read_goal, read_plan, upload_all
from orchestrator.cli.ending import EXIT_STATUSES, ExitStatus, status_of_task
from orchestrator.cli.follow import choose_display, follow
from orchestrator.cli.output import json_text
from orchestrator.cli.server import Server, find_server
from orchestrator.cli.verdict import last_verdict, lines_of_task
from orchestrator.models.task_contract import CACHE_MODES

_EXISTING = click.Path(exists=True, path_type=Path)
_FILE = click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path)
_AS_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON, and nothing else on stdout.")
_CONTRACT = (
    click.argument("goal"),
    click.option(
        "--attach",
        "attached",
        multiple=True,
        type=_EXISTING,
        help="A file, or a directory (sent as an archive).",
    ),
    click.option(
        "--criteria",
        multiple=True,
        metavar="TEXT",
        help='What must hold; \'{"text": ..., "check": {...}}\' for what a machine can check.',
    ),
    click.option(
        "--plan",
        type=_FILE,
        help="A plan of your own, JSON {steps: [...]}; nothing is planned then. - reads it from stdin.",
    ),
    click.option(
        "--context", type=_FILE, help="Text, or a JSON object, that the arms may read; - for stdin."
    ),
    click.option(
        "--cache",
        type=click.Choice(list(CACHE_MODES)),
        help="Whether an earlier result may answer, and this one later tasks.  [default: default]",
    ),
    click.option("--max-time", type=click.IntRange(min=1), metavar="SECONDS", help="The task's deadline."),
    click.option(
        "--priority", type=click.Choice(["low", "medium", "high", "critical"]), help="[default: medium]"
    ),
)


def _contract_options(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in reversed(_CONTRACT):
        command = option(command)
    return command


@click.command(epilog=EXIT_STATUSES)
@_contract_options
@click.option("--watch/--no-watch", default=True, help="Show the progress while waiting for the end.")
@_AS_JSON
@click.pass_obj
def run(access: Access, /, goal: str, watch: bool, as_json: bool, **options: Any) -> int:
    """Submit GOAL (- reads it from stdin), wait for its end, print the result and the judge's verdict."""
    server = find_server(access)
    task_id = _post(server, goal, options)["task_id"]
    return _until_its_end(server, task_id, watch=watch and not as_json, as_json=as_json)


@click.command(epilog=EXIT_STATUSES)
@_contract_options
@_AS_JSON
@click.pass_obj
def submit(access: Access, /, goal: str, as_json: bool, **options: Any) -> None:
    """Submit GOAL (- reads it from stdin) and print the task's id."""
    accepted = _post(find_server(access), goal, options)
    click.echo(json_text(accepted) if as_json else accepted["task_id"])


@click.command(epilog=EXIT_STATUSES)
@click.argument("task_id", metavar="TASK")
@_AS_JSON
@click.pass_obj
def watch(access: Access, /, task_id: str, as_json: bool) -> int:
    """Show the progress of TASK until it ends, from its first event on; Ctrl-C leaves it running."""
    server = find_server(access)
    return _until_its_end(server, task_id, watch=not as_json, as_json=as_json)


@click.command(epilog=EXIT_STATUSES)
@click.argument("task_id", metavar="TASK")
@_AS_JSON
@click.pass_obj
def status(access: Access, /, task_id: str, as_json: bool) -> int:
    """Print where TASK is; of one that has ended the result, and its end as the exit status."""
    server = find_server(access)
    task = server.get(f"/v1/tasks/{task_id}")
    if as_json:
        click.echo(json_text(task))
    elif task["status"] in ("queued", "processing"):
        progress = task["progress"]
        click.echo(
            f"{task_id} {task['status']}: {progress['current_step']}, {progress['percentage']}%, "
            f"{progress['completed_steps']} of {progress['total_steps']} steps"
            + (f"; {task['message']}" if task.get("message") else "")
        )
    else:
        print_end(task, last_verdict(server, task_id))
    return status_of_task(task)


@click.command(epilog=EXIT_STATUSES)
@click.argument("task_id", metavar="TASK")
@click.option("--reason", default="", help="Kept in the task's trace.")
@_AS_JSON
@click.pass_obj
def cancel(access: Access, /, task_id: str, reason: str, as_json: bool) -> None:
    """Stop TASK; what its steps had finished is kept as a partial result."""
    body = {"reason": reason} if reason else None
    task = find_server(access).post(f"/v1/tasks/{task_id}/cancel", body)
    click.echo(json_text(task) if as_json else f"{task_id} {task['status']}")


@click.command(epilog=EXIT_STATUSES)
@click.argument("task_id", metavar="TASK")
@click.option("--from", "from_step", metavar="STEP", help="Run STEP again, and all that depends on it.")
@_AS_JSON
@click.pass_obj
def retry(access: Access, /, task_id: str, from_step: str | None, as_json: bool) -> None:
    """Run TASK, which has ended, again as a new one and print the new one's id; what had finished is reused."""
    body = {"from_step": from_step} if from_step else None
    accepted = find_server(access).post(f"/v1/tasks/{task_id}/retry", body)
    click.echo(json_text(accepted) if as_json else accepted["task_id"])


def print_end(task: dict[str, Any], verdict: dict[str, Any] | None) -> None:
    """Print how a task ended, in colours where stdout is a terminal."""
    for line, look in lines_of_task(task, verdict):
        style: dict[str, Any] = {look: True} if look in ("dim", "bold") else {"fg": look}
        click.echo(click.style(line, **style) if look else line)


def _post(server: Server, goal: str, options: dict[str, Any]) -> dict[str, Any]:
    if [goal, str(options["plan"]), str(options["context"])].count("-") > 1:
        raise click.UsageError("only one of GOAL, --plan and --context can be -: there is one standard input")
    contract: dict[str, Any] = {"goal": read_goal(goal)}
    if options["criteria"]:
        contract["acceptance_criteria"] = [read_criterion(text) for text in options["criteria"]]
    if options["plan"]:
        contract["plan"] = read_plan(options["plan"])
    if options["cache"]:
        contract["cache"] = {"mode": options["cache"]}
    if options["context"]:
        contract["context"] = read_context(options["context"])
    if options["max_time"]:
        contract["budget"] = {"max_time_seconds": options["max_time"]}
    if options["priority"]:
        contract["priority"] = options["priority"]
    if options["attached"]:
        contract["attachments"] = upload_all(server, options["attached"])
    accepted: dict[str, Any] = server.post("/v1/tasks", contract)
    return accepted


def _until_its_end(server: Server, task_id: str, *, watch: bool, as_json: bool) -> int:
    try:
        follow(server, task_id, choose_display(watch=watch))
    except KeyboardInterrupt:
        click.echo(
            f"\nDetached; {task_id} goes on. Watch it again: octollm watch {task_id}; "
            f"stop it: octollm cancel {task_id}",
            err=True,
        )
        return ExitStatus.DETACHED
    task = server.get(f"/v1/tasks/{task_id}")
    verdict = last_verdict(server, task_id)
    if as_json:
        click.echo(json_text({**task, "verdict": verdict}))
    else:
        click.echo()
        print_end(task, verdict)
    return status_of_task(task)
