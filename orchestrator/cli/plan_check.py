"""The command that has the server check a plan or a contract in a file, and names the lines of its faults."""

from pathlib import Path
from typing import Any

import click

from orchestrator.cli.client import ServerOptions, open_client
from orchestrator.cli.exit_status import EXIT_STATUSES, ExitStatus
from orchestrator.cli.output import json_text, printable
from orchestrator.cli.tasks import read_plan_text

_CONTRACT_MEMBERS = ("goal", "plan", "recipe")


@click.command("check-plan", epilog=EXIT_STATUSES)
@click.argument(
    "path", metavar="FILE", type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path)
)
@click.option("--goal", default="Check this plan", help="The goal that the plan is for.", show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print JSON and nothing else on stdout.")
@click.pass_obj
def check_plan(access: ServerOptions, /, path: Path, goal: str, as_json: bool) -> int:
    """Check the plan in FILE (JSON or YAML; - reads standard input) as `octollm run` would, but run nothing.

    FILE may also be a contract, {goal, plan, acceptance_criteria, attachments, budget, ...}. Prints each fault as
    FILE:LINE: message, and exits with 1 if there is one; else prints the arm of each step.
    """
    text, document = read_plan_text(path)
    is_contract = isinstance(document, dict) and any(name in document for name in _CONTRACT_MEMBERS)
    contract = {"goal": goal, **document} if is_contract else {"goal": goal, "plan": document}
    checked = open_client(access).post("/v1/plans/check", contract)
    faults = checked["faults"]
    if as_json:
        click.echo(json_text(checked))
    elif faults:
        prefix = "" if is_contract else "/plan"
        lines = lines_of(text)
        for fault in faults:
            click.echo(
                f"{path}:{_line(lines, fault['path'].removeprefix(prefix))} {printable(fault['message'])}"
            )
    else:
        _print_steps(checked)
    return ExitStatus.FAILED if faults else ExitStatus.OK


def lines_of(text: str) -> dict[str, int]:
    """Return the line, from 1 on, of each value of a JSON or YAML text by its JSON pointer; empty if it has none."""
    import yaml  # noqa: PLC0415 - most commands do without it

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        # JSON is YAML but for tabs, which it has only between values
        root = yaml.compose(text.replace("\t", " "), Loader=loader)
    except (yaml.YAMLError, ValueError, RecursionError):
        return {}
    found: dict[str, int] = {}
    waiting: list[tuple[str, Any, int]] = [("", root, root.start_mark.line)] if root else []
    while waiting:
        pointer, node, line = waiting.pop()
        found[pointer] = line + 1
        if isinstance(node, yaml.MappingNode):
            waiting += [
                (f"{pointer}/{_escaped(str(name.value))}", value, name.start_mark.line)
                for name, value in node.value
            ]
        elif isinstance(node, yaml.SequenceNode):
            waiting += [
                (f"{pointer}/{index}", item, item.start_mark.line) for index, item in enumerate(node.value)
            ]
    return found


def _escaped(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")


def _line(lines: dict[str, int], pointer: str) -> str:
    """Return `LINE: pointer:`; without the line if it is not known."""
    place = f" {printable(pointer)}:" if pointer else ""
    return f"{lines[pointer]}:{place}" if pointer in lines else place.strip()


def _print_steps(checked: dict[str, Any]) -> None:
    if checked["planned_by"] == "model":
        click.echo("No fault. A model makes the plan after the submission.")
        return
    for step in checked["steps"]:
        after = f" after {', '.join(step['depends_on'])}" if step["depends_on"] else ""
        asks = ", asks a person" if step["needs_approval"] else ""
        click.echo(f"{step['id']}: {step['arm']}.{step['action']}{after}{asks}")
    click.echo(f"No fault. {len(checked['steps'])} steps, {checked['reserved_tokens']:,} tokens.")
