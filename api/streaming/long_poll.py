"""Waits in a request until a task has ended or changed, woken by the hub as streams are."""

import threading
import time
from collections.abc import Generator
from contextlib import closing

from flask import request

from api.middleware.task_access import find_task
from api.streaming.admission import AccessRecheck
from api.streaming.hub import current_hub
from orchestrator.auth.credential import Principal
from orchestrator.memory.tasks import TaskRecord
from orchestrator.models.errors import TenantLimit, Unavailable
from orchestrator.models.execution_state import TaskStatus


def readings(
    principal: Principal, task: TaskRecord, *, seconds: float, end_only: bool
) -> Generator[TaskRecord]:
    """Yield the task as it is now, and whenever it may have changed, for `seconds` at most; close the iterator.

    The last reading is of the ended task, or of the one at the time's end. With `end_only` the wait ends with the task
    only. There is one reading if there is no room for another waiting caller. Raises InvalidCredential if the caller's
    access ends meanwhile.
    """
    request.prom_do_not_track = True  # type: ignore[attr-defined]  # prometheus_flask_exporter reads it
    wakeup = threading.Event()
    try:
        subscription = current_hub().subscribe(
            task, after=task.event_seq, callback=wakeup.set, end_only=end_only
        )
    except (Unavailable, TenantLimit):
        yield task
        return
    recheck = AccessRecheck(principal, "task:read")
    until = time.monotonic() + seconds
    with subscription:
        while True:
            wakeup.clear()
            recheck.require()
            task = find_task(principal, task.id)
            yield task
            remaining = until - time.monotonic()
            if remaining <= 0 or subscription.end is not None or TaskStatus(task.status).is_final():
                return
            wakeup.wait(min(remaining, recheck.seconds_left))


def wait_for_end(principal: Principal, task: TaskRecord, *, seconds: float) -> TaskRecord:
    """Return the task once it has ended, at the latest after `seconds`; at once if there is no room to wait."""
    with closing(readings(principal, task, seconds=seconds, end_only=True)) as found:
        *_, latest = found
    return latest
