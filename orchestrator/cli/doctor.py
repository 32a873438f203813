"""The command that examines settings, programs, servers and workers, and says what to do."""

import os
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import click

from orchestrator import permit, settings
from orchestrator.cli import examine
from orchestrator.cli.ending import ExitStatus, Refused, Unreachable
from orchestrator.cli.finding import Finding, State, good, note, trouble
from orchestrator.cli.server import Server
from orchestrator.devstack import binaries, process
from orchestrator.errors import SettingsError
from orchestrator.settings import Settings

_MARKS = {State.GOOD: ("✓", "green"), State.NOTE: ("!", "yellow"), State.TROUBLE: ("✗", "red")}
_TOOLS = ("gunicorn", "celery", "ruff", "pytest")
_BY_THE_STACK = ("DATABASE_URL", "REDIS_URL", "JWT_SECRET")
_WRONG = re.compile(r"([A-Z][A-Z0-9_]+) is wrong")


@click.command()
@click.option(
    "--port", type=click.IntRange(1, 65535), default=8000, show_default=True, help="The API's port."
)
def doctor(port: int) -> int:
    """Check settings, programs, servers, workers and clocks; say what to do. Exit status: 1 for trouble."""
    troubles = 0
    for finding in _examine(port):
        mark, colour = _MARKS[finding.state]
        click.echo(f"{click.style(mark, fg=colour)} {finding.subject:<16} {finding.told}")
        if finding.advice:
            click.echo(f"  {'':<16} -> {finding.advice}")
        troubles += finding.state is State.TROUBLE
    click.echo(f"{troubles} to deal with" if troubles else "all is well")
    return ExitStatus.FAILED if troubles else ExitStatus.OK


def _examine(port: int) -> Iterator[Finding]:
    wrong, known = examine_settings(dict(os.environ))
    yield from wrong
    yield from _programs(known)
    if known:
        yield examine_permits(known)
        yield from examine.postgres(known)
        yield from examine.redis(known)
    yield examine.sandbox(known.executor_min_isolation if known else "basic")
    yield _port(port)


def examine_permits(known: Settings) -> Finding:
    """Examine the keys of permits, as far as this process knows them: few have the private one."""
    fault = permit.fault_of_keys(known.permit_private_key, known.permit_public_key, signs=False)
    if not fault:
        return good("permits", "arms ask for them")
    state = State.TROUBLE if known.permit_public_key else State.NOTE
    return Finding(state, "permits", fault, permit.HOW_TO_MAKE_KEYS)


def examine_settings(environ: dict[str, str]) -> tuple[list[Finding], Settings | None]:
    """Return all that is wrong with the settings, and the settings without the wrong ones (None: too few)."""
    found: list[Finding] = []
    while True:
        try:
            known = settings.load(environ)
        except SettingsError as error:
            name = _WRONG.match(error.message)
            if name is None or name[1] not in environ:
                found.append(_missing(error.message))
                return found, None
            found.append(trouble(name[1], error.message, "see .env.example"))
            del environ[name[1]]
        else:
            return found or [good("settings", "all can be used")], known


def _missing(message: str) -> Finding:
    if any(name in message for name in _BY_THE_STACK):
        return note("settings", message, "octollm up makes these three itself; production sets them")
    return trouble("settings", message, "see .env.example")


def _programs(known: Settings | None) -> Iterator[Finding]:
    if known is None:
        yield from _bundled()
    bin_directory = Path(sys.executable).parent
    lost = [tool for tool in _TOOLS if not (bin_directory / tool).exists() and not shutil.which(tool)]
    if lost:
        yield trouble("programs", f"not found: {', '.join(lost)}", "make setup, or install the package again")
    else:
        yield good("programs", ", ".join(_TOOLS))


def _bundled() -> Iterator[Finding]:
    """Say what `octollm up` would start."""
    try:
        found = binaries.postgres()
        yield good("postgres program", f"{found.origin}, version {found.major}")
        program, origin = binaries.valkey()
        yield good("redis program", f"{origin}, {program.name}")
    except SettingsError as error:
        yield trouble("programs", error.message, "install them, or set DATABASE_URL and REDIS_URL")


def _port(port: int) -> Finding:
    if process.is_free(port):
        return good("port", f"{port} is free")
    try:
        Server(f"http://127.0.0.1:{port}", timeout_seconds=3).get("/health")
    except (Unreachable, Refused):
        return trouble("port", f"{port} is taken by something else", "octollm up --port with another one")
    return good("port", f"an OctoLLM answers at {port}")
