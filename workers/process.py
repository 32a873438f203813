"""The one thing that a worker's process has: its connections, its name in leases, the leases it holds."""

import sys
import time
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import structlog
from celery import Celery
from celery.signals import setup_logging, worker_init, worker_process_init, worker_ready
from sqlalchemy.exc import SQLAlchemyError

from orchestrator import bootstrap
from orchestrator.bootstrap import WorkerProcess
from orchestrator.errors import SettingsError
from orchestrator.lifecycle import recovery
from orchestrator.llm.embedding import Embedder
from orchestrator.llm.failover import Models
from orchestrator.store.engine import outlast
from orchestrator.store.steps import Claim
from workers import containment
from workers.arms.base import CancelToken
from workers.heartbeat import Leases
from workers.interrupt import Interrupts
from workers.model import OpenModels

log = structlog.get_logger(__name__)

_SWITCH_SECONDS = 0.0005
_REAP_SECONDS = 0.5


@dataclass(frozen=True)
class Worker:
    """A process that does work, in a pool's child or in a pool of threads."""

    process: WorkerProcess
    leases: Leases
    interrupts: Interrupts

    @cached_property
    def models(self) -> Models:
        """The models of this process; opening them, at the first call, imports the SDKs."""
        return bootstrap.open_models(self.process.settings)

    @cached_property
    def embedder(self) -> Embedder | None:
        """The embedding model of this process, if one is configured; opening it imports the SDK."""
        return bootstrap.open_embedder(self.process.settings)

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


def connect_signals(app: Celery) -> None:
    """Have Celery wire its processes: threads run in the main one, prefork's work in children."""

    def wire(**_: object) -> None:
        start(app)

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
        containment.prepare(app)
        containment.warn_without_permits(app)

    def watch_children(sender: Any, **_: object) -> None:
        """Look for dead children twice a second.

        Celery asks once when a child's pipe closes, which is a little before the kernel lets it be reaped: it then
        sees none, and asks again after 5 s.
        """
        reap = getattr(getattr(sender.pool, "_pool", None), "maintain_pool", None)
        if reap is not None and sender.hub is not None:
            sender.hub.call_repeatedly(_REAP_SECONDS, reap)

    worker_init.connect(wire_and_prepare, weak=False)
    worker_ready.connect(watch_children, weak=False)
    worker_process_init.connect(wire, weak=False)
