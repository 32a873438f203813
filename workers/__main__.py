"""Starts a worker: `python -m workers -Q QUEUE -P POOL ...`, with the options of `celery worker`.

`--arms weather,crm` in place of -Q serves the queues of these arms, with the pool of their manifests, and as many
slots as their manifests state together unless -c says otherwise.
`celery -A workers worker` starts the same worker, but imports Celery's other commands and their plug-ins too, Flower
among them: 0.4 s, and 20 MB that stay.
"""

# ruff: noqa: PLC0415 - the imports come after start_lean

import sys
from collections.abc import Sequence

from orchestrator.process.lean import start_lean

_ARMS = "--arms"


def main() -> None:
    """Run the worker until a signal ends it."""
    start_lean()
    from orchestrator.models.errors import SettingsError

    try:
        arguments = options_of_arms(sys.argv[1:])
    except SettingsError as error:
        sys.exit(f"python -m workers: {error.message}")
    from celery.bin.base import CLIContext
    from celery.bin.worker import worker

    from workers.tasks import app

    context = CLIContext(app=app, no_color=not sys.stderr.isatty(), workdir=None, quiet=True)
    worker.main(arguments, prog_name="python -m workers", obj=context, auto_envvar_prefix="CELERY_WORKER")


def options_of_arms(arguments: Sequence[str]) -> list[str]:
    """Return the options with `--arms NAMES` replaced by -Q, -P and, if it is not given, -c.

    Raises SettingsError for an arm that does not exist, and for arms with different pools.
    """
    from orchestrator.models.arm_capability import ARMS, canonical_arm
    from orchestrator.models.errors import SettingsError

    if _ARMS not in arguments:
        return list(arguments)
    place = list(arguments).index(_ARMS)
    named, rest = arguments[place + 1 : place + 2], [*arguments[:place], *arguments[place + 2 :]]
    ids = [canonical_arm(word) for word in "".join(named).replace(",", " ").split()]
    served = [arm.arm_id for arm in ARMS.values() if arm.has_workers]
    unknown = [arm_id for arm_id in ids if arm_id not in served]
    if unknown or not ids:
        raise SettingsError(
            f"{_ARMS} names {', '.join(unknown) or 'no arm'}; the arms are {', '.join(served)}: correct it, or add the "
            "directory of the arm's manifest to ARMS_PATH"
        )
    arms = [ARMS[arm_id] for arm_id in dict.fromkeys(ids)]
    pools = {arm.pool for arm in arms}
    if len(pools) > 1:
        shown = ", ".join(f"{arm.arm_id}: {arm.pool}" for arm in arms)
        raise SettingsError(f"arms of one process need the same pool ({shown}): start one process for each")
    options = ["-Q", ",".join(arm.queue for arm in arms), "-P", pools.pop()]
    if not {"-c", "--concurrency"} & set(rest):
        options += ["-c", str(sum(arm.max_concurrent_tasks for arm in arms))]
    return [*options, *rest]


if __name__ == "__main__":
    main()
