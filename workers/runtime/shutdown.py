"""Limits a warm shutdown: running steps may finish within the grace time, then their leases are handed back."""

import os
import signal
import socket
import threading
from importlib.metadata import version
from typing import Any

import structlog
from celery import Celery
from celery.signals import worker_ready, worker_shutting_down
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
    worker_ready.connect(wait_for_unread, weak=False)


def wait_for_unread(sender: Any, **_: object) -> None:
    """Let a stopping prefork worker wait for a child that has a message but has not said yet that it works on it.

    Celery forgets such a message when it stops: AsynPool.flush takes every job that no child has accepted out of the
    pool's cache. The child does the step all the same, but a parent with an empty cache reads no answers, the child
    waits 30 s for its answer to be read (billiard's Worker._ensure_messages_consumed), and the parent waits for the
    child. A job that is only queued in the parent is still forgotten: its message returns to the queue.

    Does nothing but log a warning if Celery or billiard lacks the private names that this needs.
    """
    pool = sender.pool
    if not pool.uses_semaphore:
        # a pool of threads
        return
    from billiard.pool import ApplyResult  # noqa: PLC0415 - a pool of threads does without it

    jobs = getattr(getattr(pool, "_pool", None), "_cache", None)
    if not isinstance(jobs, dict) or not callable(pool.flush) or not hasattr(ApplyResult, "_write_to"):
        log.warning("shutdown.unread_forgotten", celery=version("celery"), billiard=version("billiard"))
        return
    flush = pool.flush

    def flush_all_but_unread() -> None:
        unread = {number: job for number, job in jobs.items() if job._write_to and not job.accepted()}
        flush()
        # a worker that only reconnects goes on reading its children's answers
        if state.should_stop is not None:
            jobs.update(unread)  # type: ignore[unreachable]  # the stubs know only the first value, None

    pool.flush = flush_all_but_unread


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
