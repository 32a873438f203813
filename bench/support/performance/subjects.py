"""What bench/task.py measures: whole tasks over HTTP, and what it compares them with."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.support.performance import driver, plans
from bench.support.performance.costs import Meter, Roots
from bench.support.performance.driver import Drive
from orchestrator import settings
from orchestrator.auth import credential
from orchestrator.auth.credential import SCOPES
from orchestrator.devserver.servers import Servers
from orchestrator.devserver.stack import ONE_OF_EACH, Stack
from orchestrator.settings import Settings

WHOLE: Final = "whole tasks"
ENGINE: Final = "engine alone"
FLOOR: Final = "floor"


@dataclass(frozen=True)
class Subject:
    """One system: how to drive it, its processes but the client, and the meter of its servers."""

    name: str
    plans: tuple[str, ...]
    drive: Callable[[str, int, int], Drive]
    roots: Callable[[], Roots]
    meter: Meter
    settings: Settings | None = None
    """Of whole tasks: the settings of their processes."""


@contextmanager
def whole_tasks(home: Path) -> Iterator[Subject]:
    """Run the whole stack as `octollm up` does, with a client process that submits tasks and waits by long polls.

    There are two processes of the executor, because the plan `ragged` has three steps at a time that wait.
    """
    environ = {"RATE_LIMIT": "1000000/second", "LOG_LEVEL": "warning"}
    with ExitStack() as stack:
        running = stack.enter_context(
            Stack(home, port=0, environ=environ, processes={**ONE_OF_EACH, "executor": 2})
        )
        meter = Meter(running.database_url, running.redis_url, home / "log" / "postgres.log")
        stack.callback(meter.close)
        chosen = settings.load(running.environ)
        token = credential.sign_token(chosen, tenant="bench", key_id="bench", scopes=SCOPES)
        module = "bench.support.performance.task_client"
        client = stack.enter_context(
            driver.start(
                [sys.executable, "-m", module, str(running.port), token], log=home / "log" / "client.log"
            )
        )
        kinds = {kind: running.pids(kind) for kind in ONE_OF_EACH}
        yield Subject(WHOLE, plans.NAMES, client.drive, lambda: kinds, meter, chosen)


@contextmanager
def driven(name: str, argv: Sequence[str], *, meter: Meter, log: Path) -> Iterator[Subject]:
    """Run a subject that is a driver of fan8."""
    with driver.start(argv, log=log) as found:
        yield Subject(name, ("fan8",), found.drive, lambda: found.roots, meter)


def engine_alone(servers: Servers, *, meter: Meter, home: Path) -> AbstractContextManager[Subject]:
    """Run the chord engine alone: a Celery worker of eight threads on our result backend."""
    return _chords("ours", ENGINE, servers, meter=meter, home=home)


def stock_celery(servers: Servers, *, meter: Meter, home: Path) -> AbstractContextManager[Subject]:
    """Run the same worker on Celery's own Redis backend."""
    return _chords("redis", "Celery on Redis", servers, meter=meter, home=home)


def floor(servers: Servers, *, meter: Meter, home: Path) -> AbstractContextManager[Subject]:
    """Run one commit, one push and one pop for each row."""
    module = "bench.support.performance.floor"
    argv = [sys.executable, "-m", module, servers.database_url, servers.redis_url]
    return driven(FLOOR, argv, meter=meter, log=home / "floor.log")


def _chords(
    kind: str, name: str, servers: Servers, *, meter: Meter, home: Path
) -> AbstractContextManager[Subject]:
    module = "bench.support.performance.canvas"
    argv = [sys.executable, "-m", module, kind, servers.database_url, servers.redis_url, str(home)]
    return driven(name, argv, meter=meter, log=home / f"{kind}.log")
