"""Runs chords of eight tasks and a body on a Celery worker of eight threads; bench/task.py runs it as a driver.

python -m bench.support.performance.canvas {ours,redis} DATABASE_URL REDIS_URL LOG_DIRECTORY
"""

import os
import sys
import time
from pathlib import Path

from bench import chords
from bench.support.performance import driver
from bench.support.performance.driver import Drive


def main(kind: str, database_url: str, redis_url: str, log: str) -> None:
    """Serve runs; the worker and the caller, which publishes the chords, count apart."""
    with chords.sides("threads", database_url, redis_url, log=Path(log), kinds=(kind,)) as (side,):
        driver.serve_drives(
            lambda _plan, count, in_flight: drive(side, count, in_flight),
            worker=side.worker_pid,
            caller=os.getpid(),
        )


def drive(side: chords.Side, count: int, in_flight: int) -> Drive:
    """Run `count` chords, `in_flight` at a time."""
    began = time.time()
    started: dict[str, float] = {}
    times = []
    for number in range(count + in_flight):
        if number >= in_flight:
            run, ended = side.finished()
            times.append(1000 * (ended - started.pop(run)))
        if number < count:
            run = chords.new_run()
            started[run] = time.time()
            side.start("fan8", run)
    return Drive(time.time() - began, times)


if __name__ == "__main__":
    main(*sys.argv[1:])
