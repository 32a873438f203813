"""`octollm doctor`: checks settings, programs, servers, workers and the API, and says what to do."""

import os
import re
import shutil
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from orchestrator import settings
from orchestrator.auth import permit
from orchestrator.cli import checks
from orchestrator.cli.checks import CheckResult, CheckStatus, failure, ok, warning
from orchestrator.cli.client import ApiClient, ServerOptions, open_client
from orchestrator.cli.exit_status import ExitStatus, RequestRefused, ServerUnreachable
from orchestrator.cli.models import describe
from orchestrator.connections.redis_client import open_client as open_redis
from orchestrator.devserver import binaries, state_directory
from orchestrator.llm.capabilities import LearnedFacts
from orchestrator.models.errors import SettingsError
from orchestrator.planner import recipes
from orchestrator.planner.recipes import Recipes
from orchestrator.settings import Settings
from orchestrator.settings_file import read_env_file

_MARKS = {
    CheckStatus.OK: ("✓", "green"),
    CheckStatus.WARNING: ("!", "yellow"),
    CheckStatus.FAILURE: ("✗", "red"),
}
_TOOLS = ("gunicorn", "celery", "ruff", "pytest")
_BY_THE_STACK = ("DATABASE_URL", "REDIS_URL")
_WRONG = re.compile(r"([A-Z][A-Z0-9_]+) is wrong")


@click.command()
@click.option(
    "--port", type=click.IntRange(1, 65535), help="The API's, on this machine.  [default: as `octollm --url`]"
)
@click.pass_obj
def doctor(access: ServerOptions, /, port: int | None) -> int:
    """Check settings, programs, servers, workers, clocks and the API; say what to do. Exit status 1: a failure."""
    counts = Counter[CheckStatus]()
    client = open_client(access._replace(url=f"http://127.0.0.1:{port}") if port else access)
    for result in _check(client):
        mark, colour = _MARKS[result.status]
        click.echo(f"{click.style(mark, fg=colour)} {result.subject:<16} {result.message}")
        if result.advice:
            click.echo(f"  {'':<16} -> {result.advice}")
        counts[result.status] += 1
    click.echo(_summary(counts))
    return ExitStatus.FAILED if counts[CheckStatus.FAILURE] else ExitStatus.OK


def _summary(counts: Mapping[CheckStatus, int]) -> str:
    if counts[CheckStatus.FAILURE]:
        return f"{counts[CheckStatus.FAILURE]} to fix"
    return (
        f"it works; to improve, marked with !: {counts[CheckStatus.WARNING]}"
        if counts[CheckStatus.WARNING]
        else "all is well"
    )


def _check(client: ApiClient) -> Iterator[CheckResult]:
    if env_file := read_env_file():
        yield ok("env file", f"{env_file} is read; the environment overrides it")
    wrong, known = check_settings({**os.environ, "OCTOLLM_HOME": str(state_directory.find().path)})
    yield from wrong
    yield from check_recipes(recipes.loaded())
    yield from _programs(known)
    if known:
        yield check_permits(known)
        yield from checks.postgres(known)
        yield from checks.redis(known)
        yield from check_models(list(describe(known, LearnedFacts(open_redis(known.redis_url)))))
    yield from check_api(client)
    yield checks.sandbox(known.executor_min_isolation if known else "basic")
    if known:
        yield ok("environments", checks.environments(known.pip_index_url))


def check_recipes(found: Recipes) -> Iterator[CheckResult]:
    """Check the operator's recipes: a file that holds no usable one is left out."""
    for item in found.left_out:
        yield warning("recipes", f"{item['file']} is not used: {item['reason']}", "correct the file")


def check_permits(known: Settings) -> CheckResult:
    """Check the permit keys that this process has; only few processes have the private one."""
    fault = permit.fault_of_keys(known.permit_private_key, known.permit_public_key, signs=False)
    if not fault:
        return ok("permits", "checked by the arms")
    status = CheckStatus.FAILURE if known.permit_public_key else CheckStatus.WARNING
    return CheckResult(status, "permits", fault, permit.HOW_TO_MAKE_KEYS)


def check_models(models: Sequence[Mapping[str, Any]]) -> Iterator[CheckResult]:
    """Check what the last test of each model said; doctor itself asks none, since that costs money."""
    for model in models:
        name, tested = model["name"], model["tested"]
        if tested is None:
            yield ok("model", f"{name}, not tested: octollm models test {name}")
        elif tested["test"] != "ok":
            yield failure("model", f"{name}: {tested['detail']}", f"fix it, then: octollm models test {name}")
        else:
            yield ok("model", f"{name}, tested at {tested['tested_at']}: {tested['seconds']} s")


def check_settings(environ: dict[str, str]) -> tuple[list[CheckResult], Settings | None]:
    """Return a result for each wrong setting, and the settings without those (None: required ones are missing)."""
    found: list[CheckResult] = []
    while True:
        try:
            known = settings.load(environ)
        except SettingsError as error:
            name = _WRONG.match(error.message)
            if name is None or name[1] not in environ:
                found.append(_missing(error.message))
                return found, None
            found.append(failure(name[1], error.message, "see .env.example"))
            del environ[name[1]]
        else:
            return found or [ok("settings", "all are valid")], known


def _missing(message: str) -> CheckResult:
    if any(name in message for name in _BY_THE_STACK):
        advice = "octollm up sets these two itself; set them in production"
        return failure("settings", message, advice)
    return failure("settings", message, "see .env.example")


def _programs(known: Settings | None) -> Iterator[CheckResult]:
    if known is None:
        yield from _bundled()
    bin_directory = Path(sys.executable).parent
    missing = [tool for tool in _TOOLS if not (bin_directory / tool).exists() and not shutil.which(tool)]
    if missing:
        yield failure(
            "programs", f"not found: {', '.join(missing)}", "make setup, or install the package again"
        )
    else:
        yield ok("programs", ", ".join(_TOOLS))


def _bundled() -> Iterator[CheckResult]:
    """Check the server programs that `octollm up` would start."""
    try:
        found = binaries.postgres()
        yield ok("postgres program", f"{found.origin}, version {found.major}")
        program, origin = binaries.valkey()
        yield ok("redis program", f"{origin}, {program.name}")
    except SettingsError as error:
        yield failure("programs", error.message, "install them, or set DATABASE_URL and REDIS_URL")


def check_api(client: ApiClient) -> Iterator[CheckResult]:
    """Check that the address belongs to an OctoLLM that accepts our token and is ready."""
    client = replace(client, timeout_seconds=5)
    try:
        answer = client.get("/health")
    except ServerUnreachable as error:
        yield failure("api", error.message, "octollm up, or the web line of Procfile; or pass --url")
        return
    except RequestRefused as error:
        answer = error.message
    if not (isinstance(answer, dict) and {"version", "components"} <= set(answer)):
        yield failure(
            "api",
            f"{client.url} answers, but is not an OctoLLM",
            "name an OctoLLM server with --url, or --port",
        )
        return
    yield ok("api", f"an OctoLLM answers at {client.url}, version {answer['version']}")
    try:
        client.get("/v1/arms")
    except (RequestRefused, ServerUnreachable) as error:
        yield failure(
            "api", error.message, "name the server of this JWT_PRIVATE_KEY with --url, or pass --token"
        )
        return
    yield from _readiness(client)


def _readiness(client: ApiClient) -> Iterator[CheckResult]:
    try:
        yield from (warning("api", text) for text in client.get("/ready").get("warnings", []))
    except (RequestRefused, ServerUnreachable):
        yield failure(
            "api",
            "GET /ready reports that it can't run tasks",
            f"see the checks above and {client.url}/ready",
        )
