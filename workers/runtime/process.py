"""Worker: the state of one worker process (connections, leases, models), and Celery's signals that set it up."""

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import structlog
from celery import Celery
from celery.signals import (
    setup_logging,
    worker_init,
    worker_process_init,
    worker_process_shutdown,
    worker_ready,
    worker_shutdown,
)
from sqlalchemy.exc import SQLAlchemyError

from orchestrator import bootstrap
from orchestrator.bootstrap import WorkerProcess
from orchestrator.chord.database import outlast
from orchestrator.lifecycle import requeue
from orchestrator.lifecycle.effects import Loss
from orchestrator.llm.embedding import Embedder
from orchestrator.llm.model_chain import ModelChain
from orchestrator.memory.claims import Claim
from orchestrator.models.arm_capability import ARMS
from orchestrator.models.errors import SettingsError
from orchestrator.observability import tracing
from orchestrator.process import lean
from orchestrator.settings import Settings
from orchestrator.similarity import signature_of
from workers.arms.base import CancelToken
from workers.runtime import startup_checks
from workers.runtime.announcer import Announcer
from workers.runtime.cancellation import CancellationListener
from workers.runtime.heartbeat import Leases
from workers.runtime.lost_effect import ask_about
from workers.runtime.watchdog import Watchdog

log = structlog.get_logger(__name__)

_SWITCH_SECONDS = 0.0005
_REAP_SECONDS = 0.5

OpenModels = Callable[[], ModelChain]
OpenEmbedder = Callable[[], Embedder | None]


@dataclass(frozen=True)
class Worker:
    """A process that runs attempts: a child of a prefork pool, or the main process of a thread pool."""

    process: WorkerProcess
    leases: Leases
    cancellations: CancellationListener
    announcer: Announcer
    _opening: threading.RLock = field(default_factory=threading.RLock, repr=False, compare=False)

    @property
    def models(self) -> ModelChain:
        """The models of this process. The first use opens them, which imports the SDKs; concurrent callers wait."""
        with self._opening:
            return self._models

    @property
    def embedder(self) -> Embedder | None:
        """The embedding model of this process, None when none is configured; opened like the models."""
        with self._opening:
            return self._embedder

    @cached_property
    def _models(self) -> ModelChain:
        return bootstrap.open_models(self.process.settings)

    @cached_property
    def _embedder(self) -> Embedder | None:
        return bootstrap.open_embedder(self.process.settings)

    def open_early(self) -> threading.Thread | None:
        """Open the models in a background thread and return it; None when no model is configured.

        Importing the SDKs takes seconds.
        """
        settings = self.process.settings
        if not settings.models and settings.embeddings is None:
            return None
        thread = threading.Thread(target=self._open_all, name="models", daemon=True)
        thread.start()
        return thread

    def _open_all(self) -> None:
        started = time.monotonic()
        try:
            if self.process.settings.models:
                bootstrap.load_prices()
                _ = self.models
                # loads the rules that the index of similar tasks uses
                signature_of("")
            _ = self.embedder
        except Exception as error:
            # the first model call tries again and reports its failure
            log.warning("models.not_opened", error=type(error).__name__)
        else:
            log.info("models.opened", seconds=round(time.monotonic() - started, 3))

    def open_models(self) -> OpenModels | None:
        """Return a function that opens the models; None when none is configured."""
        return (lambda: self.models) if self.process.settings.models else None

    @contextmanager
    def hold(self, claim: Claim, *, deadline: float) -> Iterator[CancelToken]:
        """Keep the claim's lease for the block, and listen for the end of its task; see Leases.hold.

        Announces the start of a step that does not end soon.
        """
        with self.leases.hold(claim, deadline=deadline) as token, self.announcer.watch(claim):
            # after the lease is known: the first subscription renews it once
            self.cancellations.ensure_listening()
            yield token

    def give_back(self, claim: Claim) -> None:
        """Hand a lease of this process back, as soon as a database that is away has returned."""
        self.hand_back(
            claim.id,
            task_id=claim.task_id,
            owner=self.process.owner,
            died=False,
            patience_seconds=self.process.settings.lease_seconds,
        )

    def hand_back(
        self, step_id: str, *, task_id: str, owner: str, died: bool, patience_seconds: float = 0
    ) -> None:
        """Hand a lease back before it expires. Raises nothing: where that fails, the lease expires by itself.

        The row is queued again, or waits for a person if its effect has begun. Waits up to `patience_seconds` for a
        database that is away.
        """

        def hand_back() -> None:
            engine = self.process.engine
            if requeue.hand_back(engine, step_id, task_id=task_id, owner=owner, died=died) is None:
                reason = "worker_lost" if died else "handed_back"
                ask_about(self.process, Loss(step_id, task_id, reason=reason, owner=owner))

        try:
            outlast(hand_back, until=time.monotonic() + patience_seconds)
        except SQLAlchemyError as error:
            log.warning("lease.hand_back_failed", step_id=step_id, error=error.__class__.__name__)
        else:
            self.process.hints.send(task_id)


def start(app: Celery, *, service: str = "worker") -> Worker:
    """Open this process' connections and store them on the app; a forked child does so again."""
    # a shorter switch interval than Python's 5 ms: threads that waited for Postgres run again sooner
    sys.setswitchinterval(_SWITCH_SECONDS)
    process = bootstrap.for_worker(app, service=service)
    settings = process.settings
    leases = Leases(
        process.engine, lease_seconds=settings.lease_seconds, heartbeat_seconds=settings.heartbeat_seconds
    )
    worker = Worker(
        process,
        leases,
        CancellationListener(settings.redis_url, leases),
        Announcer(process.engine, process.hints),
    )
    app.octollm_worker = worker  # type: ignore[attr-defined]  # Celery's app holds the state of a process
    return worker


def of(app: Celery) -> Worker:
    """Return this process' Worker; `start` must have run."""
    worker: Worker = app.octollm_worker  # type: ignore[attr-defined]  # see `start`
    return worker


def watchdog_of(app: Celery) -> Watchdog:
    """Return this worker's watchdog."""
    watchdog: Watchdog = app.octollm_watchdog  # type: ignore[attr-defined]  # see `connect_signals`
    return watchdog


def open_models_early(app: Celery) -> threading.Thread | None:
    """Open the models in the background if a queue of this process uses them; see Worker.open_early."""
    queues = app.amqp.queues.consume_from
    uses_models = any(arm.asks_models and arm.queue in queues for arm in ARMS.values())
    return of(app).open_early() if uses_models else None


def serve_metrics(settings: Settings) -> None:
    """Serve the metrics of this host's processes if METRICS_LISTEN is set. Raises SettingsError."""
    if settings.metrics_listen is None:
        return
    from orchestrator.observability.listener import MetricsListener  # noqa: PLC0415 - most workers serve none

    host, port = settings.metrics_listen
    MetricsListener(host, port, token=settings.metrics_token).start()


def connect_signals(app: Celery) -> None:
    """Set up each of Celery's processes: a thread pool works in the main process, a prefork pool in its children."""

    def keep_our_logging(**_: object) -> None:
        """Do nothing: with a receiver connected, Celery sets no log level and adds no handler."""

    setup_logging.connect(keep_our_logging, weak=False)

    def set_up_main(**_: object) -> None:
        try:
            worker = start(app)
            bootstrap.refuse_servers(worker.process.settings, worker.process.engine)
            serve_metrics(worker.process.settings)
            startup_checks.import_functions(app)
        except SettingsError as error:
            # Celery logs an Exception of a receiver and goes on; SystemExit ends the worker
            raise SystemExit(error.message) from None
        watchdog = Watchdog(worker.process.settings.watchdog_seconds)
        app.octollm_watchdog = watchdog  # type: ignore[attr-defined]  # Celery's app holds the state of a process
        watchdog.start()
        startup_checks.probe_sandbox(app)
        startup_checks.warn_without_permits(app)
        lean.settle()

    def set_up_child(**_: object) -> None:
        start(app)
        watchdog_of(app).beat()
        tracing.open_early()
        open_models_early(app)

    def on_ready(sender: Any, **_: object) -> None:
        """Register with the watchdog; look for dead children twice a second, or open the models of a thread pool.

        Celery looks once when a child's pipe closes, a little before the kernel lets the child be reaped; it finds
        nothing then, and looks again only after 5 s.
        """
        watchdog_of(app).beat()
        reap = getattr(getattr(sender.pool, "_pool", None), "maintain_pool", None)
        if reap is None:
            tracing.open_early()
            open_models_early(app)
        elif sender.hub is not None:
            sender.hub.call_repeatedly(_REAP_SECONDS, reap)

    def send_spans(**_: object) -> None:
        """Send the spans that wait: the process ends, or a child that has done enough tasks is replaced."""
        tracing.close()

    worker_init.connect(set_up_main, weak=False)
    worker_ready.connect(on_ready, weak=False)
    worker_process_init.connect(set_up_child, weak=False)
    worker_process_shutdown.connect(send_spans, weak=False)
    worker_shutdown.connect(send_spans, weak=False)
