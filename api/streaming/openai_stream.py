"""Streams a task's events in OpenAI's shape; a sequence number is the number of an event of ours.

The last event stands for several of OpenAI's (the answer's text, then the end), which are numbered on from its number.
So the numbers have no gap, and a client goes on after any of them.
"""

import json
import threading
from collections.abc import Iterator, Sequence
from typing import Any

from flask import Response, request

from api.middleware import context
from api.schemas.openai_response import final_events, progress_event, response_object
from api.streaming import server_sent
from api.streaming.event_buffer import Frame
from api.streaming.hub import current_hub
from orchestrator.auth.credential import Principal
from orchestrator.memory import tasks
from orchestrator.memory.tasks import TaskRecord
from orchestrator.memory.tenancy import tenant_statement
from orchestrator.models.execution_state import TaskStatus
from orchestrator.orchestrator import Orchestrator


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
    return server_sent.respond(principal, subscription, wakeup, events.encoded)


class _Events:
    """Turns frames into OpenAI's events; reads the task again for its last one."""

    def __init__(self, orchestrator: Orchestrator, task: TaskRecord, *, after: int) -> None:
        self._engine = orchestrator.engine
        self._task = task
        self._after = after
        self._open = response_object(task)
        if TaskStatus(task.status).is_final():
            self._open |= {"output": [], "error": None, "completed_at": None, "incomplete_details": None}

    def encoded(self, frames: Sequence[Frame]) -> Iterator[str]:
        """Yield the events of these frames as texts. Raises SQLAlchemyError."""
        for frame in frames:
            yield from map(_text, self._of(frame))

    def _of(self, frame: Frame) -> Iterator[dict[str, Any]]:
        """Yield a frame's events that the client does not have."""
        if not frame.is_last:
            yield progress_event(self._open, json.loads(frame.text))
            return
        with tenant_statement(self._engine, self._task.tenant) as conn:
            task = tasks.find_task(conn, self._task.tenant, self._task.id)
        if task is not None:
            ended = final_events(response_object(task), seq=frame.seq)
            yield from (event for event in ended if event["sequence_number"] > self._after)


def _text(event: dict[str, Any]) -> str:
    data = json.dumps(event, ensure_ascii=False, separators=(",", ":"))
    return f"event: {event['type']}\ndata: {data}\n\n"
