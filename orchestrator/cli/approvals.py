"""The commands about approvals: list and follow them, and decide them."""

import json
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import quote

import click

from orchestrator.cli.client import ApiClient, ServerOptions, open_client
from orchestrator.cli.exit_status import EXIT_STATUSES
from orchestrator.cli.output import json_text, local_time, printable
from orchestrator.cli.progress import decision_commands

_WATCH_SECONDS = 2.0
_LISTED_CHARACTERS = 1_000
_STATES = (
    "pending", "approved", "edited", "rejected", "answered", "run_again", "accepted", "expired", "withdrawn", "all",
)  # fmt: skip
_AS_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON and nothing else on stdout.")
_COMMENT = click.option("--comment", default="", help="Recorded with the decision.")
_ID = click.argument("approval_id", metavar="ID")


@click.command()
@click.argument("approval_id", metavar="[ID]", required=False)
@click.option("--state", type=click.Choice(_STATES), default="pending", show_default=True)
@click.option("--task", "task_id", metavar="TASK", help="Only approvals of this task.")
@click.option("--assignee", metavar="NAME", help="Only approvals by NAME.")
@click.option(
    "--limit", type=click.IntRange(1, 100), default=20, show_default=True, help="List at most this many."
)
@click.option("--watch", is_flag=True, help="Show changes until Ctrl-C.")
@_AS_JSON
@click.pass_obj
def approvals(
    access: ServerOptions, /, approval_id: str | None, watch: bool, as_json: bool, **options: Any
) -> None:
    """List what waits for a person, newest first, with what is about to run and how to decide; with ID show one."""
    client = open_client(access)
    if approval_id is not None:
        approval = client.get(_path(approval_id))
        click.echo(json_text(approval) if as_json else "\n".join(lines_of(approval, whole=True)))
        return
    page = _read_page(client, options)
    if as_json:
        click.echo(json_text(page))
        return
    for approval in page["approvals"]:
        click.echo("\n".join(lines_of(approval)))
    if not page["approvals"]:
        click.echo("nothing waits for a person" if options["state"] == "pending" else "no such approval")
    if watch:
        shown = {item["approval_id"]: item["state"] for item in page["approvals"]}
        follow(client, shown, lambda: _read_page(client, options))


@click.command(epilog=EXIT_STATUSES)
@_ID
@click.option("--inputs", metavar="JSON", help="Run the step with these inputs instead of the proposed ones.")
@_COMMENT
@_AS_JSON
@click.pass_obj
def approve(
    access: ServerOptions, /, approval_id: str, inputs: str | None, comment: str, as_json: bool
) -> None:
    """Let the step of the approval ID run: what `octollm approvals ID` shows, or with --inputs an edited version."""
    chosen = (
        {"decision": "approve"}
        if inputs is None
        else {"decision": "edit", "inputs": _decode(inputs, "--inputs")}
    )
    _decide(access, approval_id, {**chosen, "comment": comment}, as_json=as_json)


@click.command(epilog=EXIT_STATUSES)
@_ID
@click.option("--comment", required=True, help="Why; the task's trace and its client get it.")
@_AS_JSON
@click.pass_obj
def reject(access: ServerOptions, /, approval_id: str, comment: str, as_json: bool) -> None:
    """Refuse: the step fails without running, or counts as failed if its outcome was unknown."""
    _decide(access, approval_id, {"decision": "reject", "comment": comment}, as_json=as_json)


@click.command(epilog=EXIT_STATUSES)
@_ID
@click.argument("answer_text", metavar="JSON")
@_COMMENT
@_AS_JSON
@click.pass_obj
def answer(access: ServerOptions, /, approval_id: str, answer_text: str, comment: str, as_json: bool) -> None:
    """Answer the question ID with a JSON value, which becomes the step's output: 42, '"blue"', '{"ok": true}'."""
    chosen = {"decision": "answer", "answer": _decode(answer_text, "JSON"), "comment": comment}
    _decide(access, approval_id, chosen, as_json=as_json)


@click.command(epilog=EXIT_STATUSES)
@_ID
@_COMMENT
@_AS_JSON
@click.pass_obj
def run_again(access: ServerOptions, /, approval_id: str, comment: str, as_json: bool) -> None:
    """Run a step again whose outcome is unknown: if its effect did happen, it then happens twice."""
    _decide(access, approval_id, {"decision": "run_again", "comment": comment}, as_json=as_json)


@click.command(epilog=EXIT_STATUSES)
@_ID
@click.argument("output_text", metavar="JSON")
@_COMMENT
@_AS_JSON
@click.pass_obj
def accept(access: ServerOptions, /, approval_id: str, output_text: str, comment: str, as_json: bool) -> None:
    """Accept as done a step whose outcome is unknown, without running it again; JSON is its output, for later steps."""
    chosen = {"decision": "accept", "answer": _decode(output_text, "JSON"), "comment": comment}
    _decide(access, approval_id, chosen, as_json=as_json)


def follow(
    client: ApiClient,
    shown: dict[str, str],
    read_page: Callable[[], Mapping[str, Any]],
    *,
    wait: Callable[[], None] = lambda: time.sleep(_WATCH_SECONDS),
) -> None:
    """Print new approvals, and the decision of each that was shown as pending, until Ctrl-C.

    `shown` has the state in which each approval was printed. `wait` is called before each reading.
    """
    try:
        while True:
            wait()
            listed = {item["approval_id"]: item for item in read_page()["approvals"]}
            gone = [known for known, state in shown.items() if state == "pending" and known not in listed]
            current = [*(client.get(_path(known)) for known in gone), *reversed(listed.values())]
            for approval in current:
                known = approval["approval_id"]
                if shown.get(known) == approval["state"]:
                    continue
                lines = [_headline(approval)] if known in shown else list(lines_of(approval))
                shown[known] = approval["state"]
                click.echo("\n".join(lines))
    except KeyboardInterrupt:
        return


def lines_of(approval: Mapping[str, Any], *, whole: bool = False) -> Iterator[str]:
    """Yield the lines that describe an approval; long inputs are shortened unless `whole`."""
    proposal = approval["proposal"]
    place = f"step {printable(approval['step_id'])}, round {approval['round']}"
    yield _headline(approval)
    yield f"    {approval['task_id']}, {place}: {printable(proposal['arm'] + '.' + proposal['action'])}"
    yield f"    {printable(approval['ask'])}"
    inputs = printable(json.dumps(proposal["inputs"], ensure_ascii=False))
    left_out = len(inputs) - _LISTED_CHARACTERS
    if left_out > 0 and not whole:
        more = f"({left_out} more characters: octollm approvals {approval['approval_id']})"
        inputs = f"{inputs[:_LISTED_CHARACTERS]} ... {more}"
    yield f"    inputs {inputs}"
    if proposal["effect"] is not None:
        yield f"    known: {printable(json.dumps(proposal['effect'], ensure_ascii=False))}"
    if approval["answer_schema"] is not None:
        yield f"    the answer's schema: {printable(json.dumps(approval['answer_schema'], ensure_ascii=False))}"
    if approval["comment"]:
        yield f"    comment: {printable(approval['comment'])}"
    if approval["state"] == "pending":
        yield f"    decide: {decision_commands(approval['approval_id'], approval['allow'])}"


def _headline(approval: Mapping[str, Any]) -> str:
    state = approval["state"]
    if state == "pending":
        by = f" by {printable(approval['by'])}" if approval["by"] else ""
        expiry = {"reject": "rejected", "approve": "approved", "fail": "failed"}[approval["on_expiry"]]
        told = f"waits for {approval['kind']}{by} until {local_time(approval['expires_at'])}, then {expiry}"
    else:
        who = f" by {printable(approval['decided_by'])}" if approval["decided_by"] else ""
        way = f" ({approval['via']})" if approval["via"] else ""
        told = f"{state.replace('_', ' ')}{who}{way} at {local_time(approval['decided_at'])}"
    return f"{approval['approval_id']}  {told}"


def _decide(access: ServerOptions, approval_id: str, body: dict[str, Any], *, as_json: bool) -> None:
    client = open_client(access)
    proposal_hash = client.get(_path(approval_id))["proposal_hash"]
    decided = client.post(
        f"{_path(approval_id)}/decision", {**body, "proposal_hash": proposal_hash, "via": "cli"}
    )
    click.echo(json_text(decided) if as_json else _headline(decided))


def _read_page(client: ApiClient, options: Mapping[str, Any]) -> Mapping[str, Any]:
    chosen = {"state": None if options["state"] == "all" else options["state"], "limit": options["limit"]}
    chosen |= {"task_id": options["task_id"], "assignee": options["assignee"]}
    query = "&".join(f"{name}={quote(str(value))}" for name, value in chosen.items() if value is not None)
    page: Mapping[str, Any] = client.get(f"/v1/approvals?{query}")
    return page


def _path(approval_id: str) -> str:
    return f"/v1/approvals/{quote(approval_id, safe='')}"


def _decode(text: str, option: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise click.BadParameter(f"is not JSON: {error}", param_hint=option) from error
