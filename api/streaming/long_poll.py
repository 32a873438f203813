"""Holds back the answer about a task until there is something new to tell, or the caller's patience ends."""

import threading
import time

from flask import Response, request

from api.middleware import context
from api.middleware.right import Right
from api.routes.status import answer, find
from orchestrator.auth.credential import Principal
from orchestrator.memory.tasks import TaskRecord
from orchestrator.models.errors import TenantLimit, Unavailable
from orchestrator.models.execution_state import TaskStatus


def hold(principal: Principal, task: TaskRecord, *, seconds: float) -> Response:
    """Answer when the task has ended, or is no longer what If-None-Match names; after `seconds` at the latest.

    Where there is no room for another waiting caller it answers at once. Raises InvalidCredential when the
    caller's right ends meanwhile.
    """
    request.prom_do_not_track = True  # type: ignore[attr-defined]  # prometheus_flask_exporter reads it
    bell = threading.Event()
    try:
        watch = context.hub().watch(task, after=task.event_seq, ring=bell.set)
    except (Unavailable, TenantLimit):
        return answer(task)
    right = Right(principal, "task:read")
    until = time.monotonic() + seconds
    with watch:
        while True:
            bell.clear()
            right.require()
            task = find(principal, task.id)
            response = answer(task)
            left = until - time.monotonic()
            if left <= 0 or watch.end is not None or _is_news(task, response):
                return response
            bell.wait(min(left, right.seconds_left))


def _is_news(task: TaskRecord, response: Response) -> bool:
    if TaskStatus(task.status).is_final():
        return True
    return bool(request.if_none_match) and response.status_code != 304
