"""The command that runs everything on one machine."""

import os
from pathlib import Path

import click

from orchestrator.devstack.stack import ONE_OF_EACH, Stack


@click.command()
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="0: any free port."
)
@click.option("--flower", is_flag=True, help="Run Flower too; FLOWER_BASIC_AUTH=user:password is required.")
def up(port: int, flower: bool) -> None:
    """Start Postgres and Valkey (unless DATABASE_URL and REDIS_URL name others), API, workers and sweeper.

    Prints `ready http://127.0.0.1:PORT` when it is. Ctrl-C stops it cleanly, a second one hurries.
    State and logs are in $OCTOLLM_HOME (.octollm).
    """
    if flower and not os.environ.get("FLOWER_BASIC_AUTH"):
        raise click.UsageError(
            "--flower needs FLOWER_BASIC_AUTH=user:password: Flower is open to all without it"
        )
    processes = {**ONE_OF_EACH, "flower": 1} if flower else ONE_OF_EACH
    # Flower sees what workers tell; -E costs them some 40 % of their CPU in small tasks
    environ = {"WORKER_FLAGS": "-E"} if flower and "WORKER_FLAGS" not in os.environ else {}
    stack = Stack(
        Path(os.environ.get("OCTOLLM_HOME") or ".octollm"),
        port=port,
        environ=environ,
        processes=processes,
        say=lambda line: click.echo(line, err=True),
    )
    stack.run(lambda url: click.echo(f"ready {url}"))
