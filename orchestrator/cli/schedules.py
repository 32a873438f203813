"""The commands about schedules: create, list, show, change, pause, resume, trigger, backfill, next, delete."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import quote

import click

from orchestrator.cli.client import ApiClient, ServerOptions, open_client
from orchestrator.cli.exit_status import EXIT_STATUSES, RequestRefused
from orchestrator.cli.inspection import read_span
from orchestrator.cli.output import json_text, local_time, printable
from orchestrator.cli.tasks import contract_of, contract_options
from orchestrator.models.ids import is_schedule_id
from orchestrator.models.schedule import Overlap

_AS_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON and nothing else on stdout.")
_WHICH = click.argument("which", metavar="SCHEDULE")
# {option: the member of a schedule that it sets}
_MEMBERS = {
    "cron": "cron",
    "tz": "tz",
    "every": "every_seconds",
    "overlap": "overlap",
    "catchup": "catchup_window_seconds",
    "jitter": "jitter_seconds",
    "starts": "starts_at",
    "ends": "ends_at",
    "pause_after": "pause_after_failures",
}


_TIMING = (
    click.option(
        "--cron",
        metavar="LINE",
        help="Minute, hour, day of the month, month, day of the week: '30 6 * * 1-5'.",
    ),
    click.option("--tz", metavar="ZONE", help="The time zone of --cron.  [default: UTC]"),
    click.option(
        "--every",
        metavar="SPAN",
        callback=read_span,
        help="Instead of --cron: each so often, such as 15m or 6h.",
    ),
    click.option(
        "--overlap",
        type=click.Choice([one.value for one in Overlap]),
        help="What happens while its earlier task is open.  [default: skip]",
    ),
    click.option(
        "--catchup",
        metavar="SPAN",
        callback=read_span,
        help="How late a time may start after an outage.  [default: 10m]",
    ),
    click.option(
        "--jitter",
        metavar="SPAN",
        callback=read_span,
        help="Start up to so much later, always the same for one time.",
    ),
    click.option("--starts", metavar="TIME", help="No time before this one (ISO 8601 with an offset or Z)."),
    click.option("--ends", metavar="TIME", help="No time after this one."),
    click.option(
        "--pause-after", type=click.IntRange(1, 100), metavar="N", help="Pause after N failed tasks in a row."
    ),
)


def _timing_options(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in reversed(_TIMING):
        command = option(command)
    return command


@click.group(epilog=EXIT_STATUSES)
def schedule() -> None:
    """Submit a contract again and again. SCHEDULE is an id or a name."""


@schedule.command()
@click.argument("name")
@contract_options
@_timing_options
@click.option("--paused", is_flag=True, help="Do not start it yet.")
@_AS_JSON
@click.pass_obj
def create(
    access: ServerOptions, /, name: str, goal: str, paused: bool, as_json: bool, **options: Any
) -> None:
    """Save a schedule NAME that submits GOAL, and print its id; its contract is checked now and at each time."""
    client = open_client(access)
    body = {"name": name, "contract": contract_of(client, goal, options), **_members(options)}
    if body.get("cron") and not body.get("tz"):
        body["tz"] = "UTC"
    if paused:
        body["paused"] = True
    made = client.post("/v1/schedules", body)
    click.echo(json_text(made) if as_json else made["schedule_id"])


@schedule.command("list")
@click.option(
    "--limit", type=click.IntRange(1, 100), default=50, show_default=True, help="List at most this many."
)
@_AS_JSON
@click.pass_obj
def list_schedules(access: ServerOptions, /, limit: int, as_json: bool) -> None:
    """List the schedules, newest first."""
    page = open_client(access).get(f"/v1/schedules?limit={limit}")
    if as_json:
        click.echo(json_text(page))
        return
    for one in page["schedules"]:
        click.echo(headline(one))
    if not page["schedules"]:
        click.echo("no schedule")


@schedule.command()
@_WHICH
@click.option(
    "--events", "count", type=click.IntRange(1, 100), default=10, show_default=True, help="So many events."
)
@_AS_JSON
@click.pass_obj
def show(access: ServerOptions, /, which: str, count: int, as_json: bool) -> None:
    """Show a schedule and what happened to it, newest first, with its tasks and why none started."""
    client = open_client(access)
    one = _find(client, which)
    history = client.get(f"{_path(one)}/events?limit={count}")
    if as_json:
        click.echo(json_text({**one, **history}))
        return
    click.echo(
        "\n".join([headline(one), *_details(one), *(event_line(event) for event in history["events"])])
    )


@schedule.command()
@_WHICH
@_timing_options
@click.option("--name", metavar="NAME", help="Another name.")
@_AS_JSON
@click.pass_obj
def change(access: ServerOptions, /, which: str, name: str | None, as_json: bool, **options: Any) -> None:
    """Change when a schedule starts its tasks; from now on they have the rights of your key."""
    client = open_client(access)
    one = _find(client, which)
    body = {**_members(options), **({"name": name} if name else {})}
    if body.get("cron") and not body.get("tz"):
        body["tz"] = one["tz"] or "UTC"
    changed = client.patch(_path(one), body)
    click.echo(json_text(changed) if as_json else headline(changed))


@schedule.command()
@_WHICH
@_AS_JSON
@click.pass_obj
def pause(access: ServerOptions, /, which: str, as_json: bool) -> None:
    """Pause a schedule; its open tasks go on."""
    _act(access, which, "pause", as_json=as_json)


@schedule.command()
@_WHICH
@_AS_JSON
@click.pass_obj
def resume(access: ServerOptions, /, which: str, as_json: bool) -> None:
    """End a pause; what was missed meanwhile is not caught up."""
    _act(access, which, "resume", as_json=as_json)


@schedule.command()
@_WHICH
@_AS_JSON
@click.pass_obj
def trigger(access: ServerOptions, /, which: str, as_json: bool) -> None:
    """Start a schedule's task now, as --overlap allows."""
    client = open_client(access)
    event = client.post(f"{_path(_find(client, which))}/trigger")
    click.echo(json_text(event) if as_json else event["task_id"] or event_line(event))


@schedule.command()
@_WHICH
@click.option("--from", "from", required=True, metavar="TIME", help="The first time (ISO 8601).")
@click.option("--to", "to", required=True, metavar="TIME", help="The last time.")
@click.option("--dry-run", is_flag=True, help="Only print the times that would start a task.")
@_AS_JSON
@click.pass_obj
def backfill(access: ServerOptions, /, which: str, as_json: bool, **body: Any) -> None:
    """Start a task for each time of the past that has none, one after the other; print the times."""
    client = open_client(access)
    _print_times(client.post(f"{_path(_find(client, which))}/backfill", body), as_json=as_json)


@schedule.command("next")
@_WHICH
@click.option("--count", type=click.IntRange(1, 100), default=5, show_default=True, help="So many times.")
@_AS_JSON
@click.pass_obj
def upcoming(access: ServerOptions, /, which: str, count: int, as_json: bool) -> None:
    """Print the next times of a schedule, in its time zone."""
    client = open_client(access)
    _print_times(client.get(f"{_path(_find(client, which))}/next?count={count}"), as_json=as_json)


@schedule.command()
@_WHICH
@click.pass_obj
def delete(access: ServerOptions, /, which: str) -> None:
    """Delete a schedule with its history; its tasks stay."""
    client = open_client(access)
    one = _find(client, which)
    client.delete(_path(one))
    click.echo(f"{one['schedule_id']} deleted")


def headline(one: Mapping[str, Any]) -> str:
    """Return a schedule in one line: id, state, when, next time, name."""
    if one["state"] == "active":
        then = f"next {local_time(one['next_at'])}"
    elif one["state"] == "paused":
        then = (
            f"since {local_time(one['paused_at'])}, {_PAUSED.get(one['paused_reason'], one['paused_reason'])}"
        )
    else:
        then = "no time is left"
    return f"{one['schedule_id']}  {one['state']:<6}  {_rhythm(one)}  {then}  {printable(one['name'])}"


def event_line(event: Mapping[str, Any]) -> str:
    """Return an event of a schedule in one line."""
    what = [event["type"].removeprefix("schedule.").removeprefix("fire.")]
    if event["scheduled_at"]:
        what.append(f"for {local_time(event['scheduled_at'])}")
    if event["task_id"]:
        what.append(f"{event['task_id']} {event['task_status'] or 'deleted'}")
    if event["reason"]:
        what.append(event["reason"])
    if detail := event["data"].get("detail"):
        what.append(printable(detail))
    return f"    {local_time(event['timestamp'])}  {'  '.join(what)}"


_PAUSED = {
    "asked": "as asked",
    "key_lost": "its key does not work any more: resume it with another one",
    "failures": "too many tasks failed",
}


def _details(one: Mapping[str, Any]) -> Iterator[str]:
    yield f"    {printable(one['contract']['goal'])}"
    parts = [f"overlap {one['overlap']}", f"catch-up {one['catchup_window_seconds']} s"]
    if one["jitter_seconds"]:
        parts.append(f"jitter {one['jitter_seconds']} s")
    if one["pause_after_failures"]:
        parts.append(f"pauses after {one['pause_after_failures']} failures")
    if one["waiting"]:
        parts.append(f"{one['waiting']} waiting")
    yield f"    {', '.join(parts)}"


def _rhythm(one: Mapping[str, Any]) -> str:
    return f"{one['cron']} {one['tz']}" if one["cron"] else f"every {one['every_seconds']} s"


def _members(options: Mapping[str, Any]) -> dict[str, Any]:
    return {name: options[option] for option, name in _MEMBERS.items() if options[option] is not None}


def _act(access: ServerOptions, which: str, verb: str, *, as_json: bool) -> None:
    client = open_client(access)
    acted = client.post(f"{_path(_find(client, which))}/{verb}")
    click.echo(json_text(acted) if as_json else headline(acted))


def _find(client: ApiClient, which: str) -> dict[str, Any]:
    """Return the schedule with this id or name. Raises RequestRefused."""
    if is_schedule_id(which):
        found: dict[str, Any] = client.get(f"/v1/schedules/{which}")
        return found
    named = client.get(f"/v1/schedules?name={quote(which, safe='')}")["schedules"]
    if not named:
        raise RequestRefused(f"there is no schedule {which!r}: octollm schedule list shows them", status=404)
    first: dict[str, Any] = named[0]
    return first


def _path(one: Mapping[str, Any]) -> str:
    return f"/v1/schedules/{one['schedule_id']}"


def _print_times(answer: Mapping[str, Any], *, as_json: bool) -> None:
    if as_json:
        click.echo(json_text(answer))
        return
    for text in answer["local_times"]:
        click.echo(f"{text} {answer['tz']}")
    if not answer["local_times"]:
        click.echo("no time")
