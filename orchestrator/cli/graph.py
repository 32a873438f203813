"""The command that draws a plan, a recipe or a task, and what it reads for the picture."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from orchestrator.cli.client import ApiClient, ServerOptions, open_client
from orchestrator.cli.plan_picture import MAX_STEPS_DRAWN, Edge, Node, Picture, dot, mermaid
from orchestrator.cli.plan_svg import svg
from orchestrator.cli.tasks import read_plan
from orchestrator.models.ids import is_task_id
from orchestrator.planner.references import FILE, POINTER, references_in, step_of
from orchestrator.rules.check_rule import steps_named

_FORMATS: dict[str, Callable[[Picture], Iterator[str]]] = {"mermaid": mermaid, "dot": dot, "svg": svg}
_STDIN = "-"


@click.command()
@click.argument("subject", metavar="TASK|PLAN|RECIPE", required=False)
@click.option(
    "--plan",
    type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path),
    help="Draw this plan, JSON or YAML. - reads it from stdin.",
)
@click.option("--format", "form", type=click.Choice(list(_FORMATS)), default="mermaid", show_default=True)
@click.pass_obj
def graph(access: ServerOptions, /, subject: str | None, plan: Path | None, form: str) -> None:
    """Print the steps of a task with their states, of a plan's file or of a recipe as a picture.

    Only a task needs a server. GitHub, GitLab and many editors draw Mermaid; SVG is a picture as it is, for light and
    dark pages: octollm graph audit-python-package --format svg > plan.svg

    A value flows along a solid arrow; a dashed one says only what comes first.
    """
    if (subject is None) == (plan is None):
        raise click.UsageError("name a TASK, a PLAN's file or a RECIPE")
    drawn = picture_of_plan(read_plan(plan)) if plan else _picture_of(access, str(subject))
    if not drawn.nodes:
        raise click.ClickException(f"{subject or plan} has no steps (yet)")
    click.echo("\n".join(_FORMATS[form](drawn)))


def picture_of_plan(plan: Any) -> Picture:
    """Return the picture of a plan {steps: [{id, arm, action, ...}]}, legal or not.

    A step also depends on those that its inputs, its for_each and its `when` refer to. Raises BadParameter for what is
    no plan, ClickException for too many steps.
    """
    try:
        steps = {str(step["id"]): step for step in plan["steps"]}
        _require_few(steps)
        edges = [edge for step in steps.values() for edge in _edges_to(step, steps)]
        return Picture([_node_of_plan(step) for step in steps.values()], edges)
    except (KeyError, TypeError, AttributeError) as error:
        raise click.BadParameter(
            "is not a plan {steps: [{id, arm, action, ...}]}", param_hint="--plan"
        ) from error


def picture_of_task(steps: Sequence[Mapping[str, Any]], *, plan: Mapping[str, Any] | None = None) -> Picture:
    """Return the picture of a task's steps (StepSchema), with what flows between them if its `plan` is known."""
    _require_few(steps)
    nodes = [_node_of_task(step) for step in steps]
    names = {step["step_id"] for step in steps}
    known = {
        (edge.source, edge.target): edge.carries for edge in (picture_of_plan(plan).edges if plan else ())
    }
    pairs = dict.fromkeys((source, step["step_id"]) for step in steps for source in step["depends_on"])
    return Picture(
        nodes, [Edge(*pair, known.get(pair)) for pair in pairs if pair[0] in names and pair[0] != pair[1]]
    )


def _picture_of(access: ServerOptions, subject: str) -> Picture:
    if is_task_id(subject):
        client = open_client(access)
        steps = client.get(f"/v1/tasks/{subject}")["steps"]
        return picture_of_task(steps, plan=_latest_plan(client, subject))
    if subject == _STDIN or Path(subject).is_file():
        return picture_of_plan(read_plan(Path(subject)))
    from orchestrator.planner.recipes import loaded  # noqa: PLC0415 - not needed for a task or a plan

    known = loaded().by_name
    if subject not in known:
        raise click.UsageError(
            f"{subject!r} is no id of a task, no file and no recipe; the recipes are {', '.join(known)}"
        )
    return picture_of_plan({"steps": known[subject].steps})


def _latest_plan(client: ApiClient, task_id: str) -> Mapping[str, Any] | None:
    """Return the last plan that the task's trace has; None if it was not planned yet."""
    after, found = 0, None
    while True:
        page = client.get(f"/v1/tasks/{task_id}/trace?after={after}&results=false")
        for decision in page["decisions"]:
            found = decision["data"] if decision["kind"] == "plan" else found
        if not page["decisions"]:
            return found
        after = page["next_after"]


def _require_few(steps: Sequence[Any] | Mapping[str, Any]) -> None:
    if len(steps) > MAX_STEPS_DRAWN:
        raise click.ClickException(
            f"there are {len(steps)} steps, and a picture shows at most {MAX_STEPS_DRAWN:,}"
        )


def _node_of_plan(step: Mapping[str, Any]) -> Node:
    recipe = step.get("plan")
    does = f"recipe {recipe}" if recipe else _does(step.get("arm"), step.get("action"))
    notes = {"for_each": "for each item", "when": "if its condition is met", "approval": "asks a person"}
    return Node(
        str(step["id"]), does, notes=tuple(note for name, note in notes.items() if step.get(name) is not None)
    )


def _node_of_task(step: Mapping[str, Any]) -> Node:
    items, attempt = step.get("items"), step.get("attempt") or 0
    notes = [
        f"{items.get('done', 0)}/{sum(items.values())} items" if items else "",
        f"attempt {attempt}" if attempt > 1 else "",
        "reused" if step.get("reused_from") else "",
    ]
    does = _does(step["arm_id"], step["action"])
    return Node(step["step_id"], does, step["status"], tuple(filter(None, notes)))


def _does(arm: Any, action: Any) -> str:
    return ".".join(str(part) for part in (arm, action) if part)


def _edges_to(step: Mapping[str, Any], steps: Mapping[str, Any]) -> Iterator[Edge]:
    """Yield an arrow from each known step that `step` needs, once."""
    carried: dict[str, list[str]] = {str(name): [] for name in step.get("depends_on") or ()}
    for name, part in _parts_read(step):
        carried.setdefault(name, []).append(part)
    own = str(step["id"])
    for name, parts in carried.items():
        if name in steps and name != own:
            yield Edge(name, own, tuple(sorted(dict.fromkeys(parts))))


def _parts_read(step: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield (step, pointer into its output or name of its file) for each value that a step reads."""
    for _, reference in references_in([step.get("inputs"), step.get("with"), step.get("for_each")]):
        if name := step_of(reference):
            named = reference.get(FILE)
            yield name, str((named.get("name") if named else reference.get(POINTER)) or "")
    for name in steps_named(step.get("when") or {}):
        yield name, "when"
