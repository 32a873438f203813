"""The one thing that a worker's process has: its connections, its name in leases, the leases it holds."""

import sys
import threading
import time
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import structlog
from celery import Celery
from celery.signals import setup_logging, worker_init, worker_process_init, worker_ready
from sqlalchemy.exc import SQLAlchemyError

from orchestrator import bootstrap
from orchestrator.bootstrap import WorkerProcess
from orchestrator.chord.database import outlast
from orchestrator.lifecycle import recovery
from orchestrator.llm.embedding import Embedder
from orchestrator.llm.model_chain import ModelChain
from orchestrator.memory.steps import Claim
from orchestrator.models.errors import SettingsError
from workers.arms.base import CancelToken
from workers.attempt.model import OpenModels
from workers.runtime import containment
from workers.runtime.cancellation import Interrupts
from workers.runtime.heartbeat import Leases
from workers.runtime.watchdog import Watchdog

log = structlog.get_logger(__name__)

_SWITCH_SECONDS = 0.0005
_REAP_SECONDS = 0.5
_ASKS_NO_MODEL = {"arm.executor", "arm.guardian", "webhook"}
"""Queues whose work asks no model."""


@dataclass(frozen=True)
class Worker:
    """A process that does work, in a pool's child or in a pool of threads."""

    process: WorkerProcess
    leases: Leases
    interrupts: Interrupts
    _opening: threading.RLock = field(default_factory=threading.RLock, repr=False, compare=False)

    @property
    def models(self) -> ModelChain:
        """The models of this process; opening them imports the SDKs, once: who comes meanwhile waits."""
        with self._opening:
            return self._models

    @property
    def embedder(self) -> Embedder | None:
        """The embedding model of this process, if one is configured; opened like the models."""
        with self._opening:
            return self._embedder

    @cached_property
    def _models(self) -> ModelChain:
        return bootstrap.open_models(self.process.settings)

    @cached_property
    def _embedder(self) -> Embedder | None:
        return bootstrap.open_embedder(self.process.settings)

    def open_early(self) -> threading.Thread | None:
        """Open the models in the background, for importing the SDKs takes seconds; None when none is configured."""
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
            _ = self.embedder
        except Exception as error:
            # the first call tries again, and its failure is told
            log.warning("models.not_opened", error=type(error).__name__)
        else:
            log.info("models.opened", seconds=round(time.monotonic() - started, 3))

    def open_models(self) -> OpenModels | None:
        """Return what opens the models, or None when none is configured."""
        return (lambda: self.models) if self.process.settings.models else None

    def hold(self, claim: Claim, *, deadline: float) -> AbstractContextManager[CancelToken]:
        """Keep the claim's lease for the block, and hear of its task's end; see Leases.hold."""
        self.interrupts.ensure_listening()
        return self.leases.hold(claim, deadline=deadline)

    def give_back(self, claim: Claim) -> None:
        """Give a lease of this process back, as soon as a database that is away is there again."""
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
        """Give a lease back before it ends; where that fails the lease ends by itself, so nothing is raised.

        A database that is away is waited for `patience_seconds`.
        """
        try:
            outlast(
                lambda: recovery.hand_back(
                    self.process.engine, step_id, task_id=task_id, owner=owner, died=died
                ),
                until=time.monotonic() + patience_seconds,
            )
        except SQLAlchemyError as error:
            log.warning("lease.hand_back_failed", step_id=step_id, error=error.__class__.__name__)
        else:
            self.process.hints.send(task_id)


def start(app: Celery, *, service: str = "worker") -> Worker:
    """Wire this process and remember it on the app; a forked child does so again for itself."""
    # threads that wait for Postgres get the interpreter back sooner than Python's 5 ms
    sys.setswitchinterval(_SWITCH_SECONDS)
    process = bootstrap.for_worker(app, service=service)
    settings = process.settings
    leases = Leases(
        process.engine, lease_seconds=settings.lease_seconds, heartbeat_seconds=settings.heartbeat_seconds
    )
    worker = Worker(process, leases, Interrupts(settings.redis_url, leases))
    app.octollm_worker = worker  # type: ignore[attr-defined]  # Celery's app is where a process keeps its own
    return worker


def of(app: Celery) -> Worker:
    """Return what `start` wired in this process."""
    worker: Worker = app.octollm_worker  # type: ignore[attr-defined]  # see `start`
    return worker


def watchdog_of(app: Celery) -> Watchdog:
    """Return the line to what watches this worker."""
    watchdog: Watchdog = app.octollm_watchdog  # type: ignore[attr-defined]  # see `connect_signals`
    return watchdog


def open_models_early(app: Celery) -> threading.Thread | None:
    """Open this process' models in the background, where its queues have work for them; see Worker.open_early."""
    if set(app.amqp.queues.consume_from) <= _ASKS_NO_MODEL:
        return None
    return of(app).open_early()


def connect_signals(app: Celery) -> None:
    """Have Celery wire its processes: threads run in the main one, prefork's work in children."""

    def keep_our_logging(**_: object) -> None:
        """Having a receiver is enough: Celery then sets no level and adds no handler."""

    setup_logging.connect(keep_our_logging, weak=False)

    def wire_and_prepare(**_: object) -> None:
        worker = start(app)
        try:
            bootstrap.refuse_servers(worker.process.settings, worker.process.engine)
        except SettingsError as error:
            # Celery logs what a receiver raises, and goes on
            raise SystemExit(error.message) from None
        watchdog = Watchdog(worker.process.settings.watchdog_seconds)
        app.octollm_watchdog = watchdog  # type: ignore[attr-defined]  # Celery's app is where a process keeps its own
        watchdog.start()
        containment.prepare(app)
        containment.warn_without_permits(app)

    def wire_child(**_: object) -> None:
        start(app)
        watchdog_of(app).beat()
        open_models_early(app)

    def work_begins(sender: Any, **_: object) -> None:
        """Let this process be watched, and look for dead children twice a second; without any, open the models here.

        Celery asks once when a child's pipe closes, which is a little before the kernel lets it be reaped: it then
        sees none, and asks again after 5 s.
        """
        watchdog_of(app).beat()
        reap = getattr(getattr(sender.pool, "_pool", None), "maintain_pool", None)
        if reap is None:
            open_models_early(app)
        elif sender.hub is not None:
            sender.hub.call_repeatedly(_REAP_SECONDS, reap)

    worker_init.connect(wire_and_prepare, weak=False)
    worker_ready.connect(work_begins, weak=False)
    worker_process_init.connect(wire_child, weak=False)
