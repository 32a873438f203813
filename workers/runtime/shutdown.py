"""Limits a warm shutdown: running steps may finish within the grace time, then their leases are handed back."""

import os
import signal
import socket
import threading

import structlog
from celery import Celery
from celery.signals import worker_shutting_down
from celery.worker import state

from orchestrator.observability import tracing
from workers.runtime import process

log = structlog.get_logger(__name__)

_QUIT_SECONDS = 3.0


def connect_signals(app: Celery) -> None:
    """Limit a warm shutdown (SIGTERM), which otherwise waits for running steps without end, to the grace time."""

    def begin(how: str = "", **_: object) -> None:
        if how == "Warm":
            seconds = process.of(app).process.settings.grace_seconds
            threading.Thread(target=_end_after, args=(app, seconds), name="shutdown", daemon=True).start()

    worker_shutting_down.connect(begin, weak=False)


def _end_after(app: Celery, grace_seconds: float) -> None:
    """Wait for the grace time, hand back the leases of what still runs, and end this process even if it hangs."""
    threading.Event().wait(grace_seconds)
    try:
        hand_back_all(app)
    except Exception:
        # the process must end in any case; its leases then expire by themselves
        log.exception("shutdown.hand_back_failed")
    tracing.close()
    os.kill(os.getpid(), signal.SIGQUIT)
    threading.Event().wait(_QUIT_SECONDS)
    log.warning("worker.killed_itself")
    os._exit(1)


def hand_back_all(app: Celery) -> None:
    """Hand back the leases of all active requests, so that another worker starts them within a second."""
    worker = process.of(app)
    for request in list(state.active_requests):
        # in a prefork pool a child holds the lease, in a pool of threads this process
        for pid in {request.worker_pid, os.getpid()} - {None}:
            worker.hand_back(
                request.id, task_id=request.args[0], owner=f"{socket.gethostname()}:{pid}", died=False
            )
    worker.leases.drop()
