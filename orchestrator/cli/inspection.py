"""The commands that read tasks: list, result, events, trace."""

import itertools
import json
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import click

from orchestrator.cli.client import ApiClient, ServerOptions, open_client
from orchestrator.cli.exit_status import EXIT_STATUSES, status_of_task
from orchestrator.cli.output import json_text
from orchestrator.cli.progress import FINAL_EVENTS
from orchestrator.cli.task_report import compact, shortened
from orchestrator.models.execution_state import TaskStatus

_FOLDER = click.Path(file_okay=False, path_type=Path)
_POLL_SECONDS = 1.0
_SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
_GOAL_WIDTH = 60
_MOST_LISTED = 10_000
_COLOURS = {"completed": "green", "failed": "red", "cancelled": "yellow", "processing": "cyan"}


def _read_time(_context: click.Context, _option: click.Parameter, text: str | None) -> str | None:
    """Return the time that a text names, an age (90m, 2h, 3d) or a date with or without a time, as ISO 8601."""
    if text is None:
        return None
    if age := re.fullmatch(r"(\d{1,6})([mhd])", text.strip()):
        return (datetime.now(UTC) - timedelta(seconds=int(age[1]) * _SECONDS[age[2]])).isoformat()
    try:
        found = datetime.fromisoformat(text.strip())
    except ValueError:
        raise click.BadParameter(
            f"{text!r} is no time: write an age (90m, 2h, 3d) or a date (2026-11-28)"
        ) from None
    return (found if found.tzinfo else found.astimezone()).isoformat()


def read_span(_context: click.Context, _option: click.Parameter, text: str | None) -> int | None:
    """Return the seconds in a text such as 90s, 5m, 2h or 3d."""
    if text is None:
        return None
    span = re.fullmatch(r"(\d{1,6})([smhd]?)", text.strip())
    if span is None:
        raise click.BadParameter(f"{text!r} is no span of time: write 90s, 15m, 2h or 3d")
    return int(span[1]) * _SECONDS[span[2] or "s"]


@click.command("list")
@click.option(
    "--status",
    metavar="STATUS,...",
    help=f"Only tasks with one of these: {', '.join(TaskStatus)}.  [default: all]",
)
@click.option(
    "--from",
    "--since",
    "from",
    metavar="TIME",
    callback=_read_time,
    help="Only tasks submitted since: 2h, 3d or 2026-11-28T12:00Z.",
)
@click.option("--to", metavar="TIME", callback=_read_time, help="Only tasks submitted before.")
@click.option("--goal", metavar="TEXT", help="Only tasks whose goal has this text.")
@click.option("--arm", help="Only tasks with a step of this arm.")
@click.option("--recipe", help="Only tasks planned by this recipe.")
@click.option(
    "--min-duration",
    metavar="SPAN",
    callback=read_span,
    help="Only tasks that ran for this long, until now if they are open: 90s, 5m, 2h.",
)
@click.option(
    "--min-cost", type=click.FloatRange(min=0), metavar="USD", help="Only tasks that cost this much."
)
@click.option(
    "--sort",
    type=click.Choice(["newest", "oldest", "longest", "dearest", "updated"]),
    default="newest",
    show_default=True,
    help="The last three sort the newest 10,000 tasks.",
)
@click.option(
    "--limit",
    type=click.IntRange(1, _MOST_LISTED),
    default=20,
    show_default=True,
    help="List at most this many.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_obj
def list_tasks(access: ServerOptions, /, limit: int, as_json: bool, **filters: str | float | None) -> None:
    """List the tasks of the token's tenant, newest first: id, status, progress, age, goal."""
    found = list(_tasks(open_client(access), filters, limit=limit))
    if as_json:
        click.echo(json_text(found))
        return
    if not found:
        fitting = ", ".join(
            f"{name.replace('_', ' ')} {value}" for name, value in filters.items() if value and name != "sort"
        )
        click.echo("no task" + (f" fits: {fitting}" if fitting else " was submitted yet: octollm run GOAL"))
    now = time.time()
    for task in found:
        state = click.style(f"{task['status']:<10}", fg=_COLOURS.get(task["status"]))
        age = _age(now - datetime.fromisoformat(task["created_at"]).timestamp())
        click.echo(
            f"{task['task_id']}  {state} {task['percentage']:>3}%  {age:>4}  {shortened(task['goal'], _GOAL_WIDTH)}"
        )


@click.command(epilog=EXIT_STATUSES)
@click.argument("task_id", metavar="TASK")
@click.option("--out", type=_FOLDER, metavar="DIR", help="Also write the files of the result into DIR.")
@click.option("--json", "as_json", is_flag=True, help="Print the whole result as JSON.")
@click.pass_obj
def result(access: ServerOptions, /, task_id: str, out: Path | None, as_json: bool) -> int:
    """Print the result of TASK and nothing else, so that it can be piped; exit with the status of its end."""
    client = open_client(access)
    task = client.get(f"/v1/tasks/{task_id}")
    found = task["result"]
    if found is None:
        error = task["error"]["message"] if task["error"] else f"it is {task['status']}"
        raise click.ClickException(f"{task_id} has no result: {error}")
    click.echo(json_text(found) if as_json else found["output"])
    if out is not None:
        write_files(client, found["artifacts"], out)
    return status_of_task(task)


def write_files(client: ApiClient, artifacts: Sequence[Mapping[str, Any]], folder: Path) -> None:
    """Write the files of a result into a folder and name each on stderr; an existing file is never replaced."""
    folder.mkdir(parents=True, exist_ok=True)
    for artifact in artifacts:
        content = client.download(f"/v1/files/{artifact['artifact_id']}")
        click.echo(f"wrote {_write_new(folder, artifact['name'], content)}", err=True)


def _write_new(folder: Path, name: str, content: bytes) -> Path:
    """Write a new file into the folder; a number is added to a name that is taken."""
    # the name is a server's: it must not lead out of the folder
    plain = Path(name.replace("\\", "/")).name.lstrip(".") or "file"
    stem, suffix = Path(plain).stem, Path(plain).suffix
    for number in itertools.count(1):
        path = folder / (plain if number == 1 else f"{stem}-{number}{suffix}")
        try:
            with path.open("xb") as file:
                file.write(content)
        except FileExistsError:
            if path.is_file() and not path.is_symlink() and path.read_bytes() == content:
                return path
            continue
        return path
    raise AssertionError("unreachable")


@click.command()
@click.argument("task_id", metavar="TASK")
@click.option(
    "--after", type=click.IntRange(min=0), default=0, help="Only events after this number.  [default: 0]"
)
@click.option("--follow", is_flag=True, help="Wait for more until the task ends.")
@click.option("--json", "as_json", is_flag=True, help="Print each event as one line of JSON.")
@click.pass_obj
def events(access: ServerOptions, /, task_id: str, after: int, follow: bool, as_json: bool) -> None:
    """Print the numbered events of TASK, one a line."""
    for event in _events(open_client(access), task_id, after=after, follow=follow):
        if as_json:
            click.echo(json.dumps(event))
            continue
        at = datetime.fromisoformat(event["timestamp"]).astimezone()
        click.echo(f"{event['seq']:>5}  {at:%H:%M:%S}  {event['type']:<20} {_members(event['data'])}")


@click.command()
@click.argument("task_id", metavar="TASK")
@click.option("--kind", help="Only decisions of this kind: cache, plan, route, attempt, model, verdict, ...")
@click.option(
    "--json", "as_json", is_flag=True, help="Print JSON: contract, steps with their results, decisions."
)
@click.pass_obj
def trace(access: ServerOptions, /, task_id: str, kind: str | None, as_json: bool) -> None:
    """Print every decision about TASK, the oldest first: cache, plan, routing, attempts, models, verdict, end."""
    document = _trace(open_client(access), task_id)
    decisions = [one for one in document["decisions"] if kind in (None, one["kind"])]
    if as_json:
        click.echo(json_text({**document, "decisions": decisions}))
        return
    if not decisions:
        kinds = ", ".join(dict.fromkeys(one["kind"] for one in document["decisions"]))
        click.echo(
            f"no decision of the kind {kind}; there are: {kinds}" if kind else "nothing was decided yet"
        )
    for decision in decisions:
        at = datetime.fromisoformat(decision["timestamp"]).astimezone()
        place = f"round {decision['round']}"
        click.echo(f"{at:%H:%M:%S}  {place:<8}  {decision['kind']:<10} {_members(decision['data'])}")


def _tasks(
    client: ApiClient, filters: Mapping[str, str | float | None], *, limit: int
) -> Iterator[dict[str, Any]]:
    cursor: str | None = None
    while limit > 0:
        given = {**filters, "cursor": cursor, "limit": min(limit, 100)}
        query = urlencode({name: value for name, value in given.items() if value is not None})
        page = client.get(f"/v1/tasks?{query}")
        yield from page["tasks"]
        limit -= len(page["tasks"])
        cursor = page["next_cursor"]
        if cursor is None:
            return


def _events(client: ApiClient, task_id: str, *, after: int, follow: bool) -> Iterator[dict[str, Any]]:
    """Yield the events after a number; with `follow` until the one that ends the task."""
    while True:
        page = client.get(f"/v1/tasks/{task_id}/events?after={after}")["events"]
        for event in page:
            after = event["seq"]
            yield event
            if event["type"] in FINAL_EVENTS:
                return
        if not page:
            if not follow or client.get(f"/v1/tasks/{task_id}")["status"] in FINAL_EVENTS.values():
                return
            time.sleep(_POLL_SECONDS)


def _trace(client: ApiClient, task_id: str) -> dict[str, Any]:
    """Return the whole trace: the decisions of all pages, and the steps as the last page has them."""
    after, decisions = 0, []
    while True:
        page: dict[str, Any] = client.get(f"/v1/tasks/{task_id}/trace?after={after}")
        decisions += page["decisions"]
        if not page["decisions"]:
            return {**page, "decisions": decisions}
        after = page["next_after"]


def _members(data: Any) -> str:
    """Return a document's members on one line, without empty ones, shortened."""
    if not isinstance(data, Mapping):
        return shortened(compact(data))
    return shortened(
        ", ".join(
            f"{name} {compact(value)}" for name, value in data.items() if value not in (None, "", [], {})
        )
    )


def _age(seconds: float) -> str:
    """Return an age in its largest whole unit: 42s, 7m, 3h, 12d."""
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= size:
            return f"{int(seconds // size)}{unit}"
    return f"{max(int(seconds), 0)}s"
