"""The commands that change tasks or wait for them, and the contract they send: run, submit, watch, upload, ..."""

import codecs
import json
import mimetypes
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import click

from orchestrator.cli.client import ApiClient, ServerOptions, open_client
from orchestrator.cli.exit_status import EXIT_STATUSES, ExitStatus, status_of_task
from orchestrator.cli.inspection import write_files
from orchestrator.cli.output import json_text, printable
from orchestrator.cli.task_report import lines_of_waiting, print_report, read_decisions
from orchestrator.cli.watch import choose_display, follow
from orchestrator.models.task_contract import CACHE_MODES, MAX_REPLANS
from orchestrator.rules.plain_yaml import decode_yaml
from orchestrator.safety import archive

_EXISTING = click.Path(exists=True, path_type=Path)
_FILE = click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path)
_AS_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON and nothing else on stdout.")
# {option: the member of the budget that it sets}
_LIMITS = {
    "max_time": "max_time_seconds",
    "max_tokens": "max_tokens",
    "max_cost": "max_cost_dollars",
    "max_replans": "max_replans",
}
_CONTRACT = (
    click.argument("goal", required=False, default=""),
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
        help='A criterion in words, or \'{"text": ..., "check": {...}}\' for a check without a model.',
    ),
    click.option(
        "--plan",
        type=_FILE,
        help="Your own plan, JSON or YAML {steps: [...]}, instead of a generated one. - reads it from stdin.",
    ),
    click.option(
        "--recipe",
        metavar="NAME",
        help="Plan by this recipe (octollm recipes lists them); GOAL may be left out.",
    ),
    click.option(
        "-p",
        "--parameter",
        "parameters",
        multiple=True,
        metavar="KEY=VALUE",
        help="A value for a parameter of the recipe.",
    ),
    click.option(
        "--context", type=_FILE, help="Text or a JSON object for the arms to read. - reads it from stdin."
    ),
    click.option(
        "--cache",
        type=click.Choice(list(CACHE_MODES)),
        help="Whether this task may use a cached result, and store its own.  [default: default]",
    ),
    click.option("--max-time", type=click.IntRange(min=1), metavar="SECONDS", help="The task's deadline."),
    click.option(
        "--max-tokens", type=click.IntRange(min=1), metavar="N", help="The most tokens that models may use."
    ),
    click.option(
        "--max-cost",
        type=click.FloatRange(min=0),
        metavar="USD",
        help="The most US dollars that models may cost; models without a known price are then refused.",
    ),
    click.option(
        "--max-replans",
        type=click.IntRange(0, MAX_REPLANS),
        metavar="N",
        help="How often a model's plan may be made again after its result was rejected.  [default: 1]",
    ),
    click.option(
        "--priority", type=click.Choice(["low", "medium", "high", "critical"]), help="[default: medium]"
    ),
)


def contract_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the argument GOAL and the options of a contract."""
    for option in reversed(_CONTRACT):
        command = option(command)
    return command


@click.command(epilog=EXIT_STATUSES)
@contract_options
@click.option("--watch/--no-watch", default=True, help="Show the progress while waiting for the end.")
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Write the files of the result, such as patches, into DIR.",
)
@_AS_JSON
@click.pass_obj
def run(
    access: ServerOptions, /, goal: str, watch: bool, out: Path | None, as_json: bool, **options: Any
) -> int:
    """Submit GOAL (- reads it from stdin), wait until it ends, print the result and the judge's verdict."""
    client = open_client(access)
    task_id = _post(client, goal, options)["task_id"]
    status = _wait_until_final(client, task_id, watch=watch and not as_json, as_json=as_json)
    if out is not None and status != ExitStatus.DETACHED:
        result = client.get(f"/v1/tasks/{task_id}")["result"]
        write_files(client, result["artifacts"] if result else (), out)
    return status


@click.command(epilog=EXIT_STATUSES)
@contract_options
@_AS_JSON
@click.pass_obj
def submit(access: ServerOptions, /, goal: str, as_json: bool, **options: Any) -> None:
    """Submit GOAL (- reads it from stdin) and print the task's id."""
    accepted = _post(open_client(access), goal, options)
    click.echo(json_text(accepted) if as_json else accepted["task_id"])


@click.command(epilog=EXIT_STATUSES)
@click.argument("task_id", metavar="TASK")
@_AS_JSON
@click.pass_obj
def watch(access: ServerOptions, /, task_id: str, as_json: bool) -> int:
    """Show the progress of TASK from its first event until it ends; Ctrl-C leaves it running."""
    client = open_client(access)
    return _wait_until_final(client, task_id, watch=not as_json, as_json=as_json)


@click.command(epilog=EXIT_STATUSES)
@click.argument("task_id", metavar="TASK")
@_AS_JSON
@click.pass_obj
def status(access: ServerOptions, /, task_id: str, as_json: bool) -> int:
    """Print the status of TASK and what it waits for; after its end the result. The exit status is that of its end."""
    client = open_client(access)
    task = client.get(f"/v1/tasks/{task_id}")
    if as_json:
        click.echo(json_text(task))
    elif task["status"] in ("queued", "processing"):
        progress = task["progress"]
        click.echo(
            f"{task_id} {task['status']}: {progress['current_step']}, {progress['percentage']}%, "
            f"{progress['completed_steps']} of {progress['total_steps']} steps"
            + (f"; {printable(task['message'])}" if task.get("message") else "")
        )
        for line in lines_of_waiting(client.get(f"/v1/tasks/{task_id}/waiting")):
            click.echo(f"  {printable(line)}")
    else:
        print_report(task, read_decisions(client, task_id))
    return status_of_task(task)


@click.command(epilog=EXIT_STATUSES)
@click.argument("task_id", metavar="TASK")
@click.option("--reason", default="", help="Recorded in the task's trace.")
@_AS_JSON
@click.pass_obj
def cancel(access: ServerOptions, /, task_id: str, reason: str, as_json: bool) -> None:
    """Stop TASK; the outputs of its finished steps are kept as a partial result."""
    body = {"reason": reason} if reason else None
    task = open_client(access).post(f"/v1/tasks/{task_id}/cancel", body)
    click.echo(json_text(task) if as_json else f"{task_id} {task['status']}")


@click.command("upload")
@click.argument("paths", metavar="PATH...", nargs=-1, required=True, type=_EXISTING)
@_AS_JSON
@click.pass_obj
def upload_files(access: ServerOptions, /, paths: Sequence[Path], as_json: bool) -> None:
    """Upload files, and directories as archives; print each one's id, to name it in a plan or in `attachments`."""
    client = open_client(access)
    described = [upload(client, path) for path in paths]
    if as_json:
        click.echo(json_text(described))
        return
    for file in described:
        click.echo(f"{file['artifact_id']}  {file['filename']}")


def read_goal(text: str) -> str:
    """Return the goal; `-` reads it from standard input. Raises BadParameter when it is blank."""
    goal = _standard_input("GOAL") if text == "-" else text
    if not goal.strip():
        raise click.BadParameter("is empty", param_hint="GOAL")
    return goal


def read_criterion(text: str) -> str | dict[str, Any]:
    """Return a criterion: a text, or the JSON object {"text": ..., "check": {...}} if it begins with a brace."""
    if not text.lstrip().startswith("{"):
        return text
    criterion = _decode(text, "--criteria")
    if not isinstance(criterion, dict):
        raise click.BadParameter("must be an object {text, check}", param_hint="--criteria")
    return criterion


def read_plan(path: Path) -> Any:
    """Return the plan in a JSON or YAML file, {"steps": [...]} or a list of steps, as {"steps": [...]}."""
    plan = _decode_plan(_read(path, "--plan"), f"--plan {path}")
    return {"steps": plan} if isinstance(plan, list) else plan


def read_plan_text(path: Path) -> tuple[str, Any]:
    """Return the text of a JSON or YAML file, and its value. Raises BadParameter."""
    text = _read(path, "FILE")
    return text, _decode_plan(text, str(path))


def read_context(path: Path) -> Any:
    """Return the content of a context file: an object if it is a JSON object, else its text."""
    text = _read(path, "--context")
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return value if isinstance(value, dict) else text


def upload_all(client: ApiClient, paths: Sequence[Path]) -> list[str]:
    """Upload each file, and each directory as one archive; return the ids of the artifacts."""
    return [upload(client, path)["artifact_id"] for path in paths]


def upload(client: ApiClient, path: Path) -> dict[str, Any]:
    """Upload a file, or a directory as one archive; return the API's description of the artifact."""
    # a file name that is not valid UTF-8 can't be sent unchanged
    name = os.fsencode(path.resolve().name).decode("utf-8", "replace")
    if path.is_dir():
        content, media_type, name = archive.pack(path), "application/gzip", f"{name}.tar.gz"
    else:
        content = path.read_bytes()
        if not content:
            raise click.BadParameter(f"{path} is empty: attach a file with content", param_hint="--attach")
        media_type = mimetypes.guess_type(name)[0] or "application/octet-stream"
    described: dict[str, Any] = client.upload(
        f"/v1/files?filename={quote(name)}", content=content, media_type=media_type, headers={}
    )
    return described


def _post(client: ApiClient, goal: str, options: dict[str, Any]) -> dict[str, Any]:
    accepted: dict[str, Any] = client.post("/v1/tasks", contract_of(client, goal, options))
    return accepted


def contract_of(client: ApiClient, goal: str, options: dict[str, Any]) -> dict[str, Any]:
    """Return the contract that GOAL and the options of `contract_options` describe; uploads the attachments."""
    if [goal, str(options["plan"]), str(options["context"])].count("-") > 1:
        raise click.UsageError(
            "only one of GOAL, --plan and --context can be -: standard input can be read once"
        )
    contract = _goal_and_recipe(goal, options["recipe"], options["parameters"])
    if options["criteria"]:
        contract["acceptance_criteria"] = [read_criterion(text) for text in options["criteria"]]
    if options["plan"]:
        contract["plan"] = read_plan(options["plan"])
    if options["cache"]:
        contract["cache"] = {"mode": options["cache"]}
    if options["context"]:
        contract["context"] = read_context(options["context"])
    limits = {name: options[option] for option, name in _LIMITS.items() if options[option] is not None}
    if limits:
        contract["budget"] = limits
    if options["priority"]:
        contract["priority"] = options["priority"]
    if options["attached"]:
        contract["attachments"] = upload_all(client, options["attached"])
    return contract


def _goal_and_recipe(goal: str, recipe: str | None, parameters: Sequence[str]) -> dict[str, Any]:
    """Return goal, recipe and parameters of a contract; a goal that was left out says which recipe runs."""
    if not recipe:
        if parameters:
            raise click.UsageError("-p gives a value to a recipe: name it with --recipe")
        return {"goal": read_goal(goal)}
    values = {}
    for text in parameters:
        name, separator, value = text.partition("=")
        if not separator or not name.strip():
            raise click.BadParameter(f"{text!r} is not KEY=VALUE", param_hint="-p")
        values[name.strip()] = value
    named = f"Run the recipe {recipe}" + (f" with {', '.join(parameters)}" if parameters else "")
    return {"goal": read_goal(goal) if goal else named, "recipe": recipe, "parameters": values}


def _wait_until_final(client: ApiClient, task_id: str, *, watch: bool, as_json: bool) -> int:
    try:
        follow(client, task_id, choose_display(watch=watch))
    except KeyboardInterrupt:
        click.echo(
            f"\nDetached; {task_id} is still running. Watch it again: octollm watch {task_id}; "
            f"stop it: octollm cancel {task_id}",
            err=True,
        )
        return ExitStatus.DETACHED
    task = client.get(f"/v1/tasks/{task_id}")
    decisions = read_decisions(client, task_id)
    if as_json:
        click.echo(json_text({**task, "verdict": decisions.verdict, "models": decisions.spending()}))
    else:
        click.echo()
        print_report(task, decisions)
    return status_of_task(task)


def _read(path: Path, option: str) -> str:
    if str(path) == "-":
        return _standard_input(option)
    return _text(path.read_bytes(), str(path), option)


def _standard_input(option: str) -> str:
    """Return the text on standard input: decoded like a file, else in the terminal's encoding."""
    content = sys.stdin.buffer.read()
    try:
        return _text(content, "standard input", option)
    except click.BadParameter:
        if codecs.lookup(sys.stdin.encoding).name == "utf-8":
            raise
        return content.decode(sys.stdin.encoding, "replace")


def _text(content: bytes, source: str, option: str) -> str:
    """Decode UTF-8, with or without a byte order mark, or UTF-16 with one."""
    is_utf16 = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        return content.decode("utf-16" if is_utf16 else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise click.BadParameter(f"{source} is not UTF-8 text", param_hint=option) from error


def _decode(text: str, option: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise click.BadParameter(f"is not JSON: {error}", param_hint=option) from error


def _decode_plan(text: str, option: str) -> Any:
    """Return the value of a JSON or YAML text. Raises BadParameter, also for YAML that JSON can't express."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as not_json:
        if text.lstrip().startswith(("{", "[")):
            raise click.BadParameter(f"is not JSON: {not_json}", param_hint=option) from not_json
    try:
        # JSON has no dates, so a plan has none
        return decode_yaml(text)
    except ValueError as error:
        raise click.BadParameter(f"is neither JSON nor plain YAML: {error}", param_hint=option) from error
