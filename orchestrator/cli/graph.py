"""Draws a plan's graph as text for Mermaid or Graphviz, and the command for it."""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from orchestrator.cli.client import ServerOptions, open_client
from orchestrator.cli.tasks import read_plan
from orchestrator.planner.references import references_in, step_of
from orchestrator.rules.check_rule import steps_named

# the colours of a status, legible on white and on black
_FILLS = {"done": "#2e7d32", "failed": "#c62828", "running": "#1565c0", "waiting": "#ef6c00"}
_NO_FILL = "#546e7a"
# characters that end or break a label in Mermaid or DOT
_UNSAFE = re.compile(r'["\\`<>{}\[\]|#;&\x00-\x1f\x7f]')


@click.command()
@click.argument("task_id", metavar="TASK", required=False)
@click.option(
    "--plan",
    type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path),
    help="Draw this plan, JSON or YAML, instead of a task's. - reads it from stdin.",
)
@click.option("--format", "form", type=click.Choice(["mermaid", "dot"]), default="mermaid", show_default=True)
@click.pass_obj
def graph(access: ServerOptions, /, task_id: str | None, plan: Path | None, form: str) -> None:
    """Print the steps of TASK with their states, or of a plan, as a picture in text.

    GitHub, GitLab and many editors draw Mermaid. For DOT: octollm graph TASK --format dot | dot -Tsvg > graph.svg
    """
    if (task_id is None) == (plan is None):
        raise click.UsageError("name a TASK, or a plan with --plan FILE")
    steps = (
        steps_of_plan(read_plan(plan)) if plan else open_client(access).get(f"/v1/tasks/{task_id}")["steps"]
    )
    if not steps:
        raise click.ClickException(f"{task_id or plan} has no steps (yet)")
    click.echo("\n".join(mermaid(steps) if form == "mermaid" else dot(steps)))


def steps_of_plan(plan: Any) -> list[dict[str, Any]]:
    """Return a plan's steps as the status of a task shows them: step_id, arm_id, action, depends_on.

    A step also depends on those that its inputs, its for_each and its `when` refer to. Raises BadParameter for what is
    no plan.
    """
    try:
        return [
            {
                "step_id": str(step["id"]),
                "arm_id": str(step.get("arm", "")),
                "action": str(step.get("action", "")),
                "depends_on": list(dict.fromkeys([*map(str, step.get("depends_on") or ()), *_sources(step)])),
            }
            for step in plan["steps"]
        ]
    except (KeyError, TypeError, AttributeError) as error:
        raise click.BadParameter(
            "is not a plan {steps: [{id, arm, action, ...}]}", param_hint="--plan"
        ) from error


def mermaid(steps: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yield the lines of a Mermaid flowchart; ids of steps become numbers, because some words are reserved."""
    numbers = _numbers(steps)
    yield "flowchart TD"
    for step in steps:
        name, does = _label(step)
        yield f'    s{numbers[step["step_id"]]}["{name}<br/>{does}"]'
    for source, target in _edges(steps):
        yield f"    s{numbers[source]} --> s{numbers[target]}"
    for step in steps:
        if fill := _fill(step):
            yield f"    style s{numbers[step['step_id']]} fill:{fill},color:#fff"


def dot(steps: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yield the lines of a graph in Graphviz' DOT language."""
    numbers = _numbers(steps)
    yield "digraph plan {"
    yield "    node [shape=box, style=rounded];"
    for step in steps:
        name, does = _label(step)
        fill = _fill(step)
        look = f', style="rounded,filled", fillcolor="{fill}", fontcolor=white' if fill else ""
        yield f'    s{numbers[step["step_id"]]} [label="{name}\\n{does}"{look}];'
    for source, target in _edges(steps):
        yield f"    s{numbers[source]} -> s{numbers[target]};"
    yield "}"


def _numbers(steps: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    return {step["step_id"]: number for number, step in enumerate(steps, start=1)}


def _edges(steps: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, str]]:
    known = {step["step_id"] for step in steps}
    for step in steps:
        yield from ((source, step["step_id"]) for source in step["depends_on"] if source in known)


def _label(step: Mapping[str, Any]) -> tuple[str, str]:
    does = ".".join(filter(None, [step["arm_id"], step["action"]]))
    return _UNSAFE.sub("_", step["step_id"]), _UNSAFE.sub("_", does)


def _fill(step: Mapping[str, Any]) -> str | None:
    """Return the colour of a task's step; None for the step of a plan that was not submitted."""
    return _FILLS.get(step["status"], _NO_FILL) if "status" in step else None


def _sources(step: Mapping[str, Any]) -> Iterator[str]:
    read = [step.get("inputs"), step.get("for_each")]
    yield from (name for _, reference in references_in(read) if (name := step_of(reference)))
    yield from steps_named(step.get("when") or {})
