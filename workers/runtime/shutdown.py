"""Ends a worker without losing time: running steps may finish for a while, then their leases go back at once."""

import os
import signal
import socket
import threading

import structlog
from celery import Celery
from celery.signals import worker_shutting_down
from celery.worker import state

from workers.runtime import process

log = structlog.get_logger(__name__)

_LAST_WORDS_SECONDS = 3.0


def connect_signals(app: Celery) -> None:
    """Watch over a warm shutdown (SIGTERM): it waits for running steps, but not for ever."""

    def begin(how: str = "", **_: object) -> None:
        if how == "Warm":
            seconds = process.of(app).process.settings.grace_seconds
            threading.Thread(target=_end_after, args=(app, seconds), name="shutdown", daemon=True).start()

    worker_shutting_down.connect(begin, weak=False)


def _end_after(app: Celery, grace_seconds: float) -> None:
    """Hand back what still runs after the grace time and end this process, whatever hangs in it."""
    threading.Event().wait(grace_seconds)
    try:
        hand_back_all(app)
    except Exception:
        # whatever it is, this process must end: its leases then end by themselves
        log.exception("shutdown.hand_back_failed")
    os.kill(os.getpid(), signal.SIGQUIT)
    threading.Event().wait(_LAST_WORDS_SECONDS)
    log.warning("worker.killed_itself")
    os._exit(1)


def hand_back_all(app: Celery) -> None:
    """Give back the leases of all active requests of this worker: another one starts them within a second."""
    worker = process.of(app)
    for request in list(state.active_requests):
        # in a prefork pool a child holds the lease, in a pool of threads this process
        for pid in {request.worker_pid, os.getpid()} - {None}:
            worker.hand_back(
                request.id, task_id=request.args[0], owner=f"{socket.gethostname()}:{pid}", died=False
            )
    worker.leases.drop()
