"""The commands that look into steps: step shows one, diff compares those of two tasks or rounds."""

import json
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote, urlencode

import click

from orchestrator.cli.client import ServerOptions, open_client
from orchestrator.cli.output import json_text, printable

_MARKS = {"same": " ", "inputs": "i", "output": "o", "status": "s", "absent": "-"}
_ANSWERS = {True: ", models answered the same", False: ", models answered differently", None: ""}
_ROUND = click.IntRange(min=0)


@click.command("step")
@click.argument("task_id", metavar="TASK")
@click.argument("step_id", metavar="STEP")
@click.option("--round", "round_number", type=_ROUND, help="The round.  [default: the latest one]")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_obj
def show_step(
    access: ServerOptions, /, task_id: str, step_id: str, round_number: int | None, as_json: bool
) -> None:
    """Print STEP of TASK: its attempts, its log, its inputs and its output; $plan and $judge are steps too."""
    query = f"?round={round_number}" if round_number is not None else ""
    step = open_client(access).get(f"/v1/tasks/{task_id}/steps/{quote(step_id, safe='')}{query}")
    if as_json:
        click.echo(json_text(step))
        return
    for line in _step_lines(step):
        click.echo(line)


@click.command()
@click.argument("task_id", metavar="TASK")
@click.argument("other", metavar="[OTHER]", required=False)
@click.option("--rounds", metavar="N,M", help="Round N of TASK, and round M of OTHER, or of TASK itself.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_obj
def diff(
    access: ServerOptions, /, task_id: str, other: str | None, rounds: str | None, as_json: bool
) -> None:
    """Compare TASK with OTHER, or two rounds of TASK: contract, plan, steps, verdict, cost and time."""
    if not other and not rounds:
        raise click.UsageError("name another task, or two rounds by --rounds 1,2")
    query = {name: value for name, value in (("other", other), ("rounds", rounds)) if value}
    found = open_client(access).get(f"/v1/tasks/{task_id}/diff?{urlencode(query)}")
    if as_json:
        click.echo(json_text(found))
        return
    for line in _lines(found):
        click.echo(printable(line))


def _lines(found: Mapping[str, Any]) -> Iterator[str]:
    for name in ("left", "right"):
        side = found[name]
        cost = "?" if side["cost_dollars"] is None else f"${side['cost_dollars']:.4f}"
        yield (
            f"{name:<5}  {side['task_id']} round {side['round']}: {side['decision'] or side['status']}, "
            f"{side['tokens_used']} tokens, {cost}, {side['milliseconds'] / 1000:.1f} s"
        )
    if found["set"]:
        yield f"set {json.dumps(found['set'], ensure_ascii=False)}"
    for change in found["contract"]:
        if change["path"] == "/fork":
            continue
        yield f"contract {change['path'][1:]}: {change['left']} -> {change['right']}"
    plan = found["plan"]
    for mark, names in (("+", plan["added"]), ("-", plan["removed"])):
        yield from (f"plan {mark} {name}" for name in names)
    yield from (f"plan ~ {name}: {', '.join(members)}" for name, members in plan["changed"].items())
    for step in found["steps"]:
        first = "   <- first difference" if step["step_id"] == found["first_divergence"] else ""
        answers = _ANSWERS[step["same_answers"]]
        yield f"step {_MARKS[step['difference']]} {step['step_id']}: {step['difference']}{answers}{first}"
    yield from (f"    {one['path'] or '/'}: {one['left']} -> {one['right']}" for one in found["changes"])
    for one in found["findings"]:
        yield f"criterion {one['criterion']}: {_met(one['left'])} -> {_met(one['right'])}"


def _met(finding: Mapping[str, Any] | None) -> str:
    if finding is None:
        return "absent"
    return {True: "met", False: "failed", None: "not checked"}[finding["met"]]


def _step_lines(step: Mapping[str, Any]) -> Iterator[str]:
    yield f"{printable(step['step_id'])}  {step['status']}  {step['arm_id']}, round {step['round']}"
    for attempt in step["attempts"]:
        took = "" if attempt["duration_ms"] is None else f", {attempt['duration_ms']} ms"
        yield f"attempt {attempt['attempt']}: {attempt['outcome']} on {attempt['worker']}{took}"
    for line in step["log"]:
        yield f"{line['source']:<8}  {printable(line['text'].rstrip())}"
    inputs, output = step["resolved"] or step["inputs"], step["output"]
    for name, value in (("inputs", inputs), ("output", output)):
        if value is not None:
            yield f"{name}: {value['preview'] or json_text(value['value'])}"
