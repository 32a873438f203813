"""Streams a task's events in OpenAI's shape; a sequence number is the number of an event of ours.

The last event stands for several of OpenAI's (the answer's text, then the end), which are numbered on from its number.
So the numbers have no gap, and a client goes on after any of them.
"""

import json
import threading
from collections.abc import Iterator
from typing import Any

import structlog
from flask import Response, request
from sqlalchemy.exc import SQLAlchemyError

from api.middleware import context
from api.schemas.openai_response import final_events, progress_event, response_object
from api.schemas.responses import EVENT_STREAM
from api.streaming.admission import AccessRecheck
from api.streaming.event_buffer import Frame
from api.streaming.hub import Subscription, TooSlow, current_hub
from orchestrator.auth.credential import Principal
from orchestrator.memory import tasks
from orchestrator.memory.tasks import TaskRecord
from orchestrator.memory.tenancy import tenant_statement
from orchestrator.models.errors import Forbidden, InvalidCredential
from orchestrator.models.execution_state import TaskStatus
from orchestrator.orchestrator import Orchestrator

_PING_SECONDS = 15.0

log = structlog.get_logger(__name__)


def stream(principal: Principal, task: TaskRecord, *, after: int) -> Response:
    """Return the stream of a task's events after the sequence number `after`.

    Raises Unavailable or TenantLimit if there is no room for another stream.
    """
    request.prom_do_not_track = True  # type: ignore[attr-defined]  # prometheus_flask_exporter reads it
    wakeup = threading.Event()
    last = task.event_seq - 1 if TaskStatus(task.status).is_final() else task.event_seq
    # what the last event stands for may be sent in part, so it is read again
    subscription = current_hub().subscribe(task, after=min(after, last), callback=wakeup.set)
    events = _Events(context.orchestrator(), task, after=after if last < task.event_seq else min(after, last))
    recheck = AccessRecheck(principal, "task:read")
    response = Response(_server_sent(subscription, wakeup, recheck, events), content_type=EVENT_STREAM)
    response.headers["X-Accel-Buffering"] = "no"
    response.call_on_close(subscription.close)
    return response


class _Events:
    """Turns frames into OpenAI's events; reads the task again for its last one."""

    def __init__(self, orchestrator: Orchestrator, task: TaskRecord, *, after: int) -> None:
        self._engine = orchestrator.engine
        self._task = task
        self._after = after
        self._open = response_object(task)
        if TaskStatus(task.status).is_final():
            self._open |= {"output": [], "error": None, "completed_at": None, "incomplete_details": None}

    def of(self, frame: Frame) -> Iterator[dict[str, Any]]:
        """Yield a frame's events that the client does not have. Raises SQLAlchemyError."""
        if not frame.is_last:
            yield progress_event(self._open, json.loads(frame.text))
            return
        with tenant_statement(self._engine, self._task.tenant) as conn:
            task = tasks.find_task(conn, self._task.tenant, self._task.id)
        if task is not None:
            ended = final_events(response_object(task), seq=frame.seq)
            yield from (event for event in ended if event["sequence_number"] > self._after)


def _server_sent(
    subscription: Subscription, wakeup: threading.Event, recheck: AccessRecheck, events: _Events
) -> Iterator[str]:
    """Yield the events until the last one, a restart, or the end of the caller's access."""
    while True:
        try:
            recheck.require()
            frames = subscription.next_frames()
        except (InvalidCredential, Forbidden):
            return
        except (TooSlow, SQLAlchemyError) as error:
            log.warning("stream.cut", error=type(error).__name__)
            return
        for frame in frames:
            if not (text := _encoded(events, frame)):
                return
            yield text
        if subscription.end is not None:
            return
        if not frames and not wakeup.wait(min(_PING_SECONDS, recheck.seconds_left)):
            yield ": ping\n\n"
        wakeup.clear()


def _encoded(events: _Events, frame: Frame) -> str:
    """Return what a frame stands for; nothing, as of a stream that is cut off, if the database is away."""
    try:
        return "".join(_text(event) for event in events.of(frame))
    except SQLAlchemyError as error:
        log.warning("stream.cut", error=type(error).__name__)
        return ""


def _text(event: dict[str, Any]) -> str:
    data = json.dumps(event, ensure_ascii=False, separators=(",", ":"))
    return f"event: {event['type']}\ndata: {data}\n\n"
