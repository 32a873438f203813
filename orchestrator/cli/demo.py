"""`octollm demo`: starts the whole system, audits a Python package, prints the verdict, stops everything."""

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
from orchestrator.cli.client import LOCAL_TENANT, ApiClient
from orchestrator.cli.exit_status import ExitStatus, status_of_task
from orchestrator.cli.output import print_env_file
from orchestrator.cli.task_report import print_report, read_decisions
from orchestrator.cli.tasks import upload
from orchestrator.cli.up import DEPENDENT, EXAMPLES, FLAWED, SAMPLE
from orchestrator.cli.watch import choose_display, follow
from orchestrator.devserver.stack import Stack
from orchestrator.devserver.state_directory import new_home

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
    {"text": "It contains no secret", "check": {"step": "secrets", "pointer": "/secret_count", "equals": 0}},
]
_FAILING_TEST = """
def test_that_octollm_demo_added_to_fail():
    assert 1 + 1 == 3
"""


@click.command()
@click.option(
    "--package",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="The package to audit; its tests are run in a sandbox. [default: examples/sample_package, "
    "with PIP_INDEX_URL examples/package_with_dependency]",
)
@click.option(
    "--reject",
    is_flag=True,
    help="Audit examples/flawed_package, or a copy of --package with a failing test; expect the judge to reject it.",
)
def demo(package: Path | None, reject: bool) -> int:
    """Start everything, audit a package, print the judge's verdict with its evidence, stop everything.

    The audit runs the package's own tests, in a sandbox. Exit status: 0 when the judge found every criterion
    met, 1 when it rejected the package; with --reject the reverse.
    """
    if package is None and not EXAMPLES.is_dir():
        raise click.UsageError(f"{EXAMPLES} comes with a source checkout: pass --package DIR")
    print_env_file()
    has_index = bool(settings.read_texts().get("PIP_INDEX_URL"))
    if package is None and not reject:
        package = DEPENDENT if has_index else SAMPLE
        if not has_index:
            click.echo(
                "No package index is configured: with PIP_INDEX_URL a package with a dependency is audited."
            )
    with _directory(package, spoiled=reject) as directory:
        status = _audit(directory)
    if not reject:
        return status
    click.echo("The judge rejected it, as expected." if status else "The judge accepted a failing test!")
    return ExitStatus.OK if status == ExitStatus.FAILED else ExitStatus.FAILED


def _audit(directory: Path) -> int:
    home = new_home() / "demo"
    stack = Stack(home, port=0, say=lambda line: click.echo(f"  {line}"))
    began = time.monotonic()
    click.echo("Starting Postgres, Valkey, the API, a worker for each arm and the sweeper ...")
    with stack:
        click.echo(f"  ready at {stack.url} after {time.monotonic() - began:.1f} s")
        status = _submit_and_watch(_client(stack), directory)
        click.echo("Stopping everything ...")
    click.echo(f"Nothing is left running; {time.monotonic() - began:.1f} s in all. State and logs: {home}")
    return status


def _submit_and_watch(client: ApiClient, directory: Path) -> int:
    attached = upload(client, directory)
    accepted = client.post(
        "/v1/tasks",
        {
            "goal": GOAL,
            "attachments": [attached["artifact_id"]],
            "acceptance_criteria": CRITERIA,
            # a cached result of an earlier run would show nothing
            "cache": {"mode": "refresh"},
        },
    )
    click.echo(f"Goal: {GOAL}\nAttached: {directory.name}, {attached['size_bytes']} bytes packed\n")
    follow(client, accepted["task_id"], choose_display(watch=True))
    task = client.get(f"/v1/tasks/{accepted['task_id']}")
    click.echo()
    print_report(task, read_decisions(client, task["task_id"]))
    click.echo()
    return status_of_task(task)


def _client(stack: Stack) -> ApiClient:
    token = credential.sign_token(
        settings.load(stack.environ), tenant=LOCAL_TENANT, key_id="demo", scopes=credential.SCOPES
    )
    return ApiClient(stack.url, token)


@contextmanager
def _directory(package: Path | None, *, spoiled: bool) -> Iterator[Path]:
    """Yield the directory to audit; if `spoiled`, the flawed example or a copy of `package` with a failing test."""
    if package is None or not spoiled:
        yield package or FLAWED
        return
    with tempfile.TemporaryDirectory(prefix="octollm-demo-") as scratch:
        copy = Path(scratch) / package.resolve().name
        shutil.copytree(package, copy)
        tests = copy / "tests"
        (tests if tests.is_dir() else copy).joinpath("test_put_in.py").write_text(_FAILING_TEST)
        yield copy
