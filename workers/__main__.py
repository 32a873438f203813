"""Starts a worker: `python -m workers -Q QUEUE -P POOL ...`, with the options of `celery worker`.

`celery -A workers worker` starts the same worker, but imports Celery's other commands and their plug-ins too, Flower
among them: 0.4 s, and 20 MB that stay.
"""

# ruff: noqa: PLC0415 - the imports come after start_lean

import sys

from orchestrator.process.lean import start_lean


def main() -> None:
    """Run the worker until a signal ends it."""
    start_lean()
    from celery.bin.base import CLIContext
    from celery.bin.worker import worker

    from workers.tasks import app

    context = CLIContext(app=app, no_color=not sys.stderr.isatty(), workdir=None, quiet=True)
    worker.main(prog_name="python -m workers", obj=context, auto_envvar_prefix="CELERY_WORKER")


if __name__ == "__main__":
    main()
