"""The command that examines settings, programs, servers and workers, and says what to do."""

import os
import re
import shutil
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import click

from orchestrator import settings
from orchestrator.auth import permit
from orchestrator.cli import examine
from orchestrator.cli.access import Access
from orchestrator.cli.ending import ExitStatus, Refused, Unreachable
from orchestrator.cli.finding import Finding, State, good, note, trouble
from orchestrator.cli.server import Server, find_server
from orchestrator.devserver import binaries, home
from orchestrator.models.errors import SettingsError
from orchestrator.settings import Settings
from orchestrator.settings_file import read_env_file

_MARKS = {State.GOOD: ("✓", "green"), State.NOTE: ("!", "yellow"), State.TROUBLE: ("✗", "red")}
_TOOLS = ("gunicorn", "celery", "ruff", "pytest")
_BY_THE_STACK = ("DATABASE_URL", "REDIS_URL")
_WRONG = re.compile(r"([A-Z][A-Z0-9_]+) is wrong")


@click.command()
@click.option(
    "--port", type=click.IntRange(1, 65535), help="The API's, on this machine.  [default: as `octollm --url`]"
)
@click.pass_obj
def doctor(access: Access, /, port: int | None) -> int:
    """Check settings, programs, servers, workers, clocks, the API; say what to do. Exit status: 1 for trouble."""
    told = Counter[State]()
    server = find_server(access._replace(url=f"http://127.0.0.1:{port}") if port else access)
    for finding in _examine(server):
        mark, colour = _MARKS[finding.state]
        click.echo(f"{click.style(mark, fg=colour)} {finding.subject:<16} {finding.told}")
        if finding.advice:
            click.echo(f"  {'':<16} -> {finding.advice}")
        told[finding.state] += 1
    click.echo(_summary(told))
    return ExitStatus.FAILED if told[State.TROUBLE] else ExitStatus.OK


def _summary(told: Mapping[State, int]) -> str:
    if told[State.TROUBLE]:
        return f"{told[State.TROUBLE]} to deal with"
    return (
        f"it works; marked with ! is what should not stay so: {told[State.NOTE]}"
        if told[State.NOTE]
        else "all is well"
    )


def _examine(server: Server) -> Iterator[Finding]:
    if env_file := read_env_file():
        yield good("env file", f"{env_file} is read; the environment goes before it")
    wrong, known = examine_settings({**os.environ, "OCTOLLM_HOME": str(home.find().path)})
    yield from wrong
    yield from _programs(known)
    if known:
        yield examine_permits(known)
        yield from examine.postgres(known)
        yield from examine.redis(known)
    yield from examine_api(server)
    yield examine.sandbox(known.executor_min_isolation if known else "basic")


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
        advice = "octollm up makes these two itself; production sets them"
        return trouble("settings", message, advice)
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


def examine_api(server: Server) -> Iterator[Finding]:
    """Examine what answers at the server's address: ours, with our secret, able to do tasks."""
    asked = replace(server, timeout_seconds=5)
    try:
        answer = asked.get("/health")
    except Unreachable as error:
        yield trouble("api", error.message, "octollm up, or the web line of Procfile; or pass --url")
        return
    except Refused as error:
        answer = error.message
    if not (isinstance(answer, dict) and {"version", "components"} <= set(answer)):
        yield trouble("api", f"what answers at {server.url} is no OctoLLM", "name ours with --url, or --port")
        return
    yield good("api", f"an OctoLLM answers at {server.url}, version {answer['version']}")
    try:
        asked.get("/v1/arms")
    except (Refused, Unreachable) as error:
        yield trouble(
            "api", error.message, "name the server of this JWT_PRIVATE_KEY with --url, or pass --token"
        )
        return
    yield from _readiness(asked)


def _readiness(server: Server) -> Iterator[Finding]:
    try:
        yield from (note("api", warning) for warning in server.get("/ready").get("warnings", []))
    except (Refused, Unreachable):
        yield trouble("api", "GET /ready says that it can't do tasks", f"see above, and {server.url}/ready")
