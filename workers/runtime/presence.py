"""Reports this worker in the table `pools`: that it is alive, how busy it is and which arms it serves."""

from importlib.metadata import version
from pathlib import Path
from typing import Any

import structlog
from celery import Celery
from celery.signals import worker_ready, worker_shutdown
from celery.worker import state
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from orchestrator.chord.database import statement
from orchestrator.memory import pools
from orchestrator.memory.pools import PoolReport
from orchestrator.models.arm_capability import ARMS, REMOTE, REMOTE_QUEUE, registry_digest
from orchestrator.observability import metric
from orchestrator.process.loop import Loop, Pace
from workers.runtime import process, startup_checks

BEAT_SECONDS = 5.0

log = structlog.get_logger(__name__)


def show_alive(file: Path | None) -> None:
    """Set the time of ALIVE_FILE, which a probe of the container reads; a fault is logged, for the probe reports it."""
    if file is None:
        return
    try:
        file.touch()
    except OSError as error:
        log.warning("alive.not_shown", file=str(file), error=type(error).__name__)


class Presence:
    """A thread that refreshes ALIVE_FILE and a row of `pools` for each queue that the worker consumes or withholds."""

    def __init__(self, engine: Engine, *, app: Celery, node: str, concurrency: int) -> None:
        self._engine = engine
        self._alive_file = process.of(app).process.settings.alive_file
        self._app = app
        self._withheld = startup_checks.withheld_of(app)
        queues = [*app.amqp.queues.consume_from, *(ARMS[arm].queue for arm in self._withheld)]
        served = {arm.queue: arm.arm_id for arm in ARMS.values()} | {REMOTE_QUEUE: REMOTE}
        self._rows = {f"{node}/{queue}": (queue, arm) for queue, arm in served.items() if queue in queues}
        self._concurrency = concurrency
        # else each heartbeat would read the package's metadata from disk
        self._version = version("octollm-orchestrator")
        self._loop = Loop(
            "presence",
            self._beat,
            pace=Pace(BEAT_SECONDS),
            away=(SQLAlchemyError,),
            failed=metric.thread_failed,
        )

    def start(self) -> None:
        """Start the thread."""
        self._loop.start()

    def stop(self) -> None:
        """Stop the thread and delete the rows, so that the worker counts as gone at once."""
        self._loop.stop(wait_seconds=2 * BEAT_SECONDS)
        with statement(self._engine) as conn:
            pools.leave(conn, *self._rows)

    def _beat(self) -> None:
        # first: a process whose threads run must not be restarted because Postgres is away
        show_alive(self._alive_file)
        reports = [
            PoolReport(
                node=node,
                queue=queue,
                arm=arm,
                concurrency=self._concurrency,
                busy=len(state.active_requests),
                isolation=startup_checks.isolation_of(self._app, arm),
                unavailable=self._withheld.get(arm),
                version=self._version,
                registry_digest=registry_digest(),
            )
            for node, (queue, arm) in self._rows.items()
        ]
        with statement(self._engine) as conn:
            pools.record_heartbeat(conn, *reports)


def connect_signals(app: Celery) -> None:
    """Report the worker from the time it consumes until it stops."""

    def begin(sender: Any, **_: object) -> None:
        presence = Presence(
            process.of(app).process.engine,
            app=app,
            node=sender.hostname,
            concurrency=sender.pool.num_processes if sender.pool else 1,
        )
        presence.start()
        app.octollm_presence = presence  # type: ignore[attr-defined]  # Celery's app holds the state of a process

    def end(**_: object) -> None:
        presence: Presence | None = getattr(app, "octollm_presence", None)
        if presence is not None:
            presence.stop()

    worker_ready.connect(begin, weak=False)
    worker_shutdown.connect(end, weak=False)
