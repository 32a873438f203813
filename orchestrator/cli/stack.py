"""The command that runs everything on one machine."""

import os
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import click

from orchestrator import settings
from orchestrator.cli.example import SAMPLE
from orchestrator.cli.output import tell_env_file
from orchestrator.devserver import home
from orchestrator.devserver.stack import ONE_OF_EACH, Stack
from orchestrator.planner.recipe import recipes

_FLOWER_PORT = "5555"


@click.command()
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    envvar="PORT",
    default=8000,
    show_default=True,
    help="0: any free port.",
)
@click.option(
    "--flower/--no-flower",
    default=None,
    help="Run Flower too; it needs FLOWER_BASIC_AUTH=user:password.  [default: where that is set]",
)
def up(port: int, flower: bool | None) -> None:
    """Start Postgres and Valkey (unless DATABASE_URL and REDIS_URL name others), API, workers and sweeper.

    Prints `ready http://127.0.0.1:PORT` when it is. Ctrl-C stops it cleanly, a second one hurries.
    State and logs are in $OCTOLLM_HOME (.octollm). Settings come from the environment, then from .env.
    """
    has_login = bool(os.environ.get("FLOWER_BASIC_AUTH"))
    if flower and not has_login:
        raise click.UsageError(
            "--flower needs FLOWER_BASIC_AUTH=user:password: Flower is open to all without it"
        )
    flower = has_login if flower is None else flower
    processes = {**ONE_OF_EACH, "flower": 1} if flower else ONE_OF_EACH
    # Flower sees what workers tell; -E costs them some 40 % of their CPU in small tasks
    environ = {"WORKER_FLAGS": "-E"} if flower and not os.environ.get("WORKER_FLAGS") else {}
    tell_env_file()
    stack = Stack(home.to_start_in(), port=port, environ=environ, processes=processes, say=_say)

    def tell(url: str) -> None:
        home.remember(stack.home)
        click.echo(f"ready {url}")
        for line in _guide(stack, flower=flower):
            _say(line)

    stack.run(tell)


def _say(line: str) -> None:
    click.echo(line, err=True)


def _guide(stack: Stack, *, flower: bool) -> Iterator[str]:
    """Yield what one who has just started it wants to know: where it answers, what it plans, what to do next."""
    yield f"  API     {stack.url}/v1"
    yield f"  docs    {stack.url}/docs"
    if flower:
        port = stack.environ.get("FLOWER_PORT") or _FLOWER_PORT
        yield f"  Flower  http://127.0.0.1:{port} (FLOWER_BASIC_AUTH lets you in)"
    else:
        yield "  Flower  off; it runs where FLOWER_BASIC_AUTH=user:password is set"
    yield f"  logs    {stack.home / 'log'}"
    models = settings.load(stack.environ).models
    if models:
        yield "models plan and judge: " + ", ".join(map(str, models))
    else:
        yield "no model is set: recipes plan goals like these, and --plan takes a plan of your own"
        yield from (f"  {recipe.say}" for recipe in recipes())
    yield "next, in another terminal:"
    if sys.prefix != sys.base_prefix:
        yield f"  . {shlex.quote(str(Path(sys.prefix) / 'bin' / 'activate'))}"
    attached = f" --attach {shlex.quote(str(SAMPLE))}" if SAMPLE.is_dir() else " --attach DIRECTORY"
    yield f'  octollm run "Audit this Python package"{attached}'
    yield "Ctrl-C stops everything"
