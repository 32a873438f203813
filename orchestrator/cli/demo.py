"""The command that shows the whole system at work: it audits a Python package and stops everything again."""

import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from orchestrator import settings
from orchestrator.auth import credential
from orchestrator.cli.contract import upload
from orchestrator.cli.ending import ExitStatus, status_of_task
from orchestrator.cli.example import EXAMPLES, FLAWED, SAMPLE
from orchestrator.cli.follow import choose_display, follow
from orchestrator.cli.output import tell_env_file
from orchestrator.cli.server import LOCAL_TENANT, Server
from orchestrator.cli.task import print_end
from orchestrator.cli.verdict import last_verdict
from orchestrator.devserver.home import to_start_in
from orchestrator.devserver.stack import Stack

GOAL = "Audit this Python package: inventory, syntax, lint, tests, coverage and secrets."
CRITERIA: list[dict[str, Any]] = [
    {
        "text": "No file has a syntax error",
        "check": {"step": "syntax", "pointer": "/error_count", "equals": 0},
    },
    {
        "text": "The linter finds nothing",
        "check": {"step": "lint", "pointer": "/finding_count", "at_most": 0},
    },
    {"text": "No test fails", "check": {"step": "tests", "pointer": "/failed", "equals": 0}},
    {
        "text": "Every function is run by a test",
        "check": {"step": "coverage", "pointer": "/never_run_count", "equals": 0},
    },
    {"text": "No secret lies in it", "check": {"step": "secrets", "pointer": "/secret_count", "equals": 0}},
]
_FAILING_TEST = """
def test_put_in_by_octollm_demo_to_be_rejected():
    assert 1 + 1 == 3
"""


@click.command()
@click.option(
    "--package",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="The package to audit; its tests are run in a sandbox. [default: examples/sample_package]",
)
@click.option(
    "--reject",
    is_flag=True,
    help="Audit examples/flawed_package, or a copy of --package with a failing test: the judge must reject it.",
)
def demo(package: Path | None, reject: bool) -> int:
    """Start everything, audit a package, print the judge's verdict with its evidence, stop everything.

    The audit runs the package's own tests, in a sandbox. Exit status: 0 when the judge found every criterion
    met, 1 when it rejected the package; with --reject the other way round.
    """
    if package is None and not EXAMPLES.is_dir():
        raise click.UsageError(f"{EXAMPLES} comes with a source checkout: pass --package DIR")
    tell_env_file()
    with _directory(package, spoiled=reject) as directory:
        status = _audit(directory)
    if not reject:
        return status
    click.echo("The judge rejected it, as it must." if status else "The judge accepted a failing test!")
    return ExitStatus.OK if status == ExitStatus.FAILED else ExitStatus.FAILED


def _audit(directory: Path) -> int:
    home = to_start_in() / "demo"
    stack = Stack(home, port=0, say=lambda line: click.echo(f"  {line}"))
    began = time.monotonic()
    click.echo("Starting Postgres, Valkey, the API, a worker for each arm and the sweeper ...")
    with stack:
        click.echo(f"  ready at {stack.url} after {time.monotonic() - began:.1f} s")
        status = _submit_and_watch(_server(stack), directory)
        click.echo("Stopping everything ...")
    click.echo(f"Nothing is left running; {time.monotonic() - began:.1f} s in all. State and logs: {home}")
    return status


def _submit_and_watch(server: Server, directory: Path) -> int:
    attached = upload(server, directory)
    accepted = server.post(
        "/v1/tasks",
        {
            "goal": GOAL,
            "attachments": [attached["artifact_id"]],
            "acceptance_criteria": CRITERIA,
            # the demo shows work: a result of its last run must not answer
            "cache": {"mode": "refresh"},
        },
    )
    click.echo(f"Goal: {GOAL}\nAttached: {directory.name}, {attached['size_bytes']} bytes packed\n")
    follow(server, accepted["task_id"], choose_display(watch=True))
    task = server.get(f"/v1/tasks/{accepted['task_id']}")
    click.echo()
    print_end(task, last_verdict(server, task["task_id"]))
    click.echo()
    return status_of_task(task)


def _server(stack: Stack) -> Server:
    token = credential.sign_token(
        settings.load(stack.environ), tenant=LOCAL_TENANT, key_id="demo", scopes=credential.SCOPES
    )
    return Server(stack.url, token)


@contextmanager
def _directory(package: Path | None, *, spoiled: bool) -> Iterator[Path]:
    """Give the package or our sample; to be spoiled a copy with a failing test, or our flawed package."""
    if package is None or not spoiled:
        yield package or (FLAWED if spoiled else SAMPLE)
        return
    with tempfile.TemporaryDirectory(prefix="octollm-demo-") as scratch:
        copy = Path(scratch) / package.resolve().name
        shutil.copytree(package, copy)
        tests = copy / "tests"
        (tests if tests.is_dir() else copy).joinpath("test_put_in.py").write_text(_FAILING_TEST)
        yield copy
