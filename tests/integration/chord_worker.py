"""Starts and stops worker processes of chord_app."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import redis

from tests.waiting import wait_until

_ROOT = Path(__file__).resolve().parents[2]


@contextmanager
def chord_worker(environ: dict[str, str], *, log: Path, pool: str = "prefork") -> Iterator[None]:
    """Run one worker of two processes (or threads) until the block ends."""
    queue = environ["CHORD_QUEUE"]
    command = [
        sys.executable,
        "-m",
        "celery",
        "-A",
        "tests.integration.chord_app",
        "worker",
        "-n",
        f"{queue}@%h",
    ]
    with (
        log.open("wb") as output,
        redis.Redis.from_url(environ["CHORD_BROKER"]) as client,
        subprocess.Popen(
            [*command, "-P", pool, "-c", "2", "-l", "INFO"],
            cwd=_ROOT,
            env={**os.environ, **environ},
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        ) as worker,
    ):
        try:
            wait_until(lambda: client.exists(f"ready:{queue}"), 30, f"worker {queue}; see {log}")
            yield
        finally:
            worker.send_signal(signal.SIGTERM)
            try:
                worker.wait(10)
            except subprocess.TimeoutExpired:
                os.killpg(worker.pid, signal.SIGKILL)
