"""The commands about arms of one's own: the group `octollm arm`, and `octollm worker`."""

import os
import shlex
import sys
from typing import Any, NoReturn

import click

from orchestrator import settings
from orchestrator.cli.arm_author import check, freeze, new, try_action
from orchestrator.cli.operator_session import stack_environ
from orchestrator.cli.output import json_text
from orchestrator.models.arm_capability import ARMS, ArmCapability, canonical_arm
from orchestrator.process.process_kind import environment_of


@click.group()
def arm() -> None:
    """Arms of your own: write one, check it, try it; list what this machine finds in ARMS_PATH and in packages."""


for _command in (new, check, try_action, freeze):
    arm.add_command(_command)


@arm.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_arms(*, as_json: bool) -> None:
    """List all arms that this machine's processes know: source, queue, pool, and each action's effects.

    `octollm arms` asks the server which of them are alive.
    """
    found = [_described(one) for one in ARMS.values()]
    if as_json:
        click.echo(json_text(found))
        return
    for one in found:
        pool = f"{one['pool']} {one['max_concurrent_tasks']}"
        click.echo(f"{one['arm_id']:<16} {one['source']:<20} {one['kind']:<9} {pool:<12} {one['queue']}")
        for name, action in one["actions"].items():
            once = ", not idempotent" if action["runs_once"] else ""
            click.echo(f"    {name:<20} {action['effects']}{once}")


@click.command()
@click.option(
    "--arm", "names", multiple=True, required=True, metavar="ARM", help="An arm to serve; may be repeated."
)
@click.option(
    "-c",
    "--concurrency",
    type=click.IntRange(1, 1000),
    help="Steps at the same time.  [default: what the manifests state]",
)
def worker(*, names: tuple[str, ...], concurrency: int | None) -> NoReturn:
    """Start one worker process that serves ARM until it gets SIGTERM; more of them serve more steps.

    Several arms share a process if their manifests state the same pool. The process gets only the settings and
    secrets that its arms need.
    """
    ids = [_known(name).arm_id for name in names]
    kinds = sorted({ARMS[arm_id].process for arm_id in ids})
    if len(kinds) > 1:
        raise click.UsageError(
            f"{', '.join(ids)} are of several kinds ({', '.join(kinds)}): start one worker for each"
        )
    wanted = stack_environ()
    environ = environment_of(
        kinds[0], settings.read_texts(wanted), models=settings.load(wanted).models, arms=ids
    )
    options = ["--arms", ",".join(ids), *(["-c", str(concurrency)] if concurrency else [])]
    node = ["-n", f"{'+'.join(ids)}.{os.getpid()}@%h", "--without-mingle", "--without-gossip"]
    flags = shlex.split(environ.get("WORKER_FLAGS", ""))
    command = [sys.executable, "-m", "workers", *options, *node, *flags]
    os.execve(sys.executable, command, environ)  # noqa: S606 - no shell is meant to be between them


def _known(name: str) -> ArmCapability:
    arm_id = canonical_arm(name)
    served = [one.arm_id for one in ARMS.values() if one.has_workers]
    if arm_id not in served:
        raise click.UsageError(
            f"there is no arm {name!r} that workers serve; those are {', '.join(served)}: add the directory "
            "of its manifest to ARMS_PATH"
        )
    return ARMS[arm_id]


def _described(one: ArmCapability) -> dict[str, Any]:
    return {
        "arm_id": one.arm_id,
        "description": one.description,
        "source": one.source,
        "kind": one.kind,
        "version": one.version,
        "queue": one.queue,
        "pool": one.pool,
        "max_concurrent_tasks": one.max_concurrent_tasks,
        "is_required": one.is_required,
        "actions": {
            name: {"effects": action.effects, "runs_once": action.runs_once, "approval": action.approval}
            for name, action in one.actions.items()
        },
    }
