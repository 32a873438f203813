"""`octollm up`: runs the whole system on this machine until Ctrl-C."""

import os
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import click

import orchestrator
from orchestrator import settings
from orchestrator.cli.checks import environments
from orchestrator.cli.console import sign_in_link
from orchestrator.cli.output import print_env_file
from orchestrator.devserver import state_directory
from orchestrator.devserver.stack import ONE_OF_EACH, Stack
from orchestrator.planner.recipes import recipes

# a source checkout has them
EXAMPLES = Path(orchestrator.__file__).parents[1] / "examples"
SAMPLE = EXAMPLES / "sample_package"
FLAWED = EXAMPLES / "flawed_package"
DEPENDENT = EXAMPLES / "package_with_dependency"
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
    """Start Postgres and Valkey (unless DATABASE_URL and REDIS_URL are set), API, workers and sweeper.

    Prints `ready http://127.0.0.1:PORT` when it is ready. Ctrl-C stops it cleanly; a second one stops it at once.
    State and logs are in $OCTOLLM_HOME (.octollm). Settings come from the environment, then from .env.
    """
    has_login = bool(os.environ.get("FLOWER_BASIC_AUTH"))
    if flower and not has_login:
        raise click.UsageError(
            "--flower needs FLOWER_BASIC_AUTH=user:password: without it Flower would be open to everybody"
        )
    flower = has_login if flower is None else flower
    processes = {**ONE_OF_EACH, "flower": 1} if flower else ONE_OF_EACH
    # -E makes workers send the events that Flower shows, for about 40 % more CPU on small tasks
    environ = {"WORKER_FLAGS": "-E"} if flower and not os.environ.get("WORKER_FLAGS") else {}
    print_env_file()
    stack = Stack(state_directory.new_home(), port=port, environ=environ, processes=processes, say=_say)

    def on_ready(url: str) -> None:
        state_directory.remember(stack.home)
        click.echo(f"ready {url}")
        for line in _guide(stack, flower=flower):
            _say(line)

    stack.run(on_ready)


def _say(line: str) -> None:
    click.echo(line, err=True)


def _guide(stack: Stack, *, flower: bool) -> Iterator[str]:
    """Yield the lines shown after the start: addresses, models or recipes, the next command."""
    signing = settings.load_signing(stack.environ)
    link = sign_in_link(stack.url, signing, redis_url=stack.redis_url)
    yield f"  console {link}"
    yield "          (signs in once, within 15 minutes; `octollm console` prints a new link)"
    yield f"  API     {stack.url}/v1"
    yield f"  docs    {stack.url}/docs"
    if flower:
        port = stack.environ.get("FLOWER_PORT") or _FLOWER_PORT
        yield f"  Flower  http://127.0.0.1:{port} (log in with FLOWER_BASIC_AUTH)"
    else:
        yield "  Flower  off; set FLOWER_BASIC_AUTH=user:password to start it"
    yield f"  logs    {stack.home / 'log'}"
    known = settings.load(stack.environ)
    yield f"  index   {environments(known.pip_index_url)}"
    models = known.models
    if models:
        yield "models plan and judge: " + ", ".join(map(str, models))
    else:
        yield "no model is configured: recipes plan goals like these, and --plan accepts your own plan"
        yield from (f"  {recipe.say}" for recipe in recipes())
    yield "next, in another terminal:"
    if sys.prefix != sys.base_prefix:
        yield f"  . {shlex.quote(str(Path(sys.prefix) / 'bin' / 'activate'))}"
    attached = f" --attach {shlex.quote(str(SAMPLE))}" if SAMPLE.is_dir() else " --attach DIRECTORY"
    yield f'  octollm run "Audit this Python package"{attached}'
    yield "Ctrl-C stops everything"
