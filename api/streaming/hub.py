"""Delivers new events to the streams of this process: one thread reads them from Postgres for all streams.

Postgres holds the events; a hint from Redis only says that there may be new ones. A task's events are numbered without
gaps, so a stream's state is its cursor: it gets each event after the cursor once, from memory or from Postgres.
"""

import threading
import time
from collections import deque
from collections.abc import Callable
from enum import Enum
from itertools import groupby
from operator import itemgetter
from typing import Any, Self, cast

import redis
from flask import Flask, current_app
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from api.streaming.event_buffer import MAX_PROGRESS, EventBuffer, Frame
from api.streaming.stream_limit import StreamLimit
from orchestrator.chord.database import statement
from orchestrator.connections.redis_client import open_subscriber
from orchestrator.memory import events
from orchestrator.memory.hints import CHANNEL, END_PREFIX, PROGRESS_CHANNEL
from orchestrator.memory.tasks import TaskRecord
from orchestrator.models.errors import Unavailable
from orchestrator.models.execution_state import TaskStatus
from orchestrator.observability import metric
from orchestrator.orchestrator import Orchestrator
from orchestrator.process.loop import Loop, Pace

DEFAULT_MAX_STREAMS = 112
LOST_HINTS_SECONDS = 5.0
RESUBSCRIBE_SECONDS = 0.5
"""The longest pause before a lost subscription is opened again."""
_READ_LIMIT = 2000
_PAGE = 500
_WAIT_SECONDS = 0.25
_NO_ROOM = "This process has no room for another stream; try again."
_EXTENSION = "octollm_hub"


class EndReason(Enum):
    """Why a stream must end."""

    DONE = "done"
    GONE = "gone"
    RESTART = "restart"


class TooSlow(Exception):
    """A stream that had caught up fell behind further than the buffer in memory reaches."""


class Subscription:
    """One stream's position in a task's events; close it, or use it as a context manager.

    The stream's `callback` is called from another thread when there may be more events.
    """

    def __init__(
        self,
        hub: "Hub",
        task_id: str,
        *,
        buffer: EventBuffer,
        slot: str,
        after: int,
        callback: Callable[[], None],
    ) -> None:
        self.cursor = after
        self.task_id = task_id
        self.callback = callback
        self.slot = slot
        self.buffer = buffer
        self._hub = hub
        self._was_live = False
        self._is_done = False

    @property
    def end(self) -> EndReason | None:
        """Why the stream must end now; None if it goes on."""
        if self.buffer.is_undone:
            return EndReason.RESTART
        if self._is_done or (self.buffer.is_over and self.cursor >= self.buffer.last):
            return EndReason.DONE
        if self.buffer.is_gone:
            return EndReason.GONE
        return EndReason.RESTART if self._hub.is_stopping else None

    def next_frames(self) -> list[Frame]:
        """Return the next frames, from memory or as a page from Postgres; an empty list if there are none yet.

        Raises TooSlow, and SQLAlchemyError if Postgres is away.
        """
        frames = self._hub.frames_after(self.buffer, self.cursor)
        if frames is not None:
            self._was_live = True
        elif self._was_live:
            raise TooSlow
        else:
            frames = self._hub.replay(self.task_id, after=self.cursor, limit=_PAGE)
        if frames:
            self.cursor = frames[-1].seq
            self._is_done = frames[-1].is_last
        return frames

    def take_progress(self) -> list[str]:
        """Return the transient events, as JSON texts, that came since the last call; none unless they were wanted."""
        waiting, taken = self.buffer.progress.get(self.callback), list[str]()
        while waiting:
            taken.append(waiting.popleft())
        return taken

    def close(self) -> None:
        """End the subscription and free its slot; calling twice is safe."""
        self._hub.unsubscribe(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Hub:
    """The streams of one process, at most `max_streams` of them. Its threads start with the first stream.

    `streams` is their number. `is_leaving` is called several times a second and returns whether the process is about
    to stop; then all streams end.
    """

    def __init__(
        self,
        engine: Engine,
        redis_url: str,
        *,
        stream_limit: StreamLimit,
        max_streams: int = DEFAULT_MAX_STREAMS,
    ) -> None:
        self.max_streams = max_streams
        self.streams = 0
        self.is_leaving: Callable[[], bool] = lambda: False
        self._stream_limit = stream_limit
        self._stopping = threading.Event()
        self._engine = engine
        self._redis_url = redis_url
        self._lock = threading.Lock()
        self._wakeup = threading.Event()
        self._buffers: dict[str, EventBuffer] = {}
        self._dirty: set[str] = set()
        self._checked_at = time.monotonic()
        self._reader = self._loop("hub", self._read, away=SQLAlchemyError, pause_seconds=_WAIT_SECONDS)
        self._listener = self._loop(
            "hints", self._listen, away=redis.RedisError, pause_seconds=RESUBSCRIBE_SECONDS
        )

    @property
    def is_stopping(self) -> bool:
        """Whether all streams must end."""
        return self._stopping.is_set()

    def subscribe(
        self,
        task: TaskRecord,
        *,
        after: int,
        callback: Callable[[], None],
        end_only: bool = False,
        wants_progress: bool = False,
    ) -> Subscription:
        """Subscribe a stream to a task's events after number `after`; `callback` is called when there may be more.

        With `end_only` it is called when the task may have ended, and no event is read for it before. `wants_progress`:
        it also gets the transient events that come from now on. Raises Unavailable if the process has no room for
        another stream or is about to stop, TenantLimit if the tenant has as many streams as it may have.
        """
        if self._is_full():
            raise Unavailable(_NO_ROOM)
        slot = self._stream_limit.acquire(task.tenant)
        try:
            buffer = self._add_callback(task, callback, end_only=end_only)
        except Unavailable:
            self._stream_limit.release(slot)
            raise
        if wants_progress:
            buffer.progress[callback] = deque(maxlen=MAX_PROGRESS)
        self._wakeup.set()
        return Subscription(self, task.id, buffer=buffer, slot=slot, after=after, callback=callback)

    def _is_full(self) -> bool:
        return self.is_stopping or self.streams >= self.max_streams

    def _add_callback(self, task: TaskRecord, callback: Callable[[], None], *, end_only: bool) -> EventBuffer:
        with self._lock:
            if self._is_full():
                raise Unavailable(_NO_ROOM)
            buffer = self._buffers.get(task.id)
            if buffer is None or buffer.is_gone or buffer.is_undone:
                is_over = TaskStatus(task.status).is_final()
                buffer = self._buffers[task.id] = EventBuffer(task.event_seq, is_over=is_over)
            if not end_only and not buffer.callbacks:
                # nobody had the events read that were written since the buffer was made
                self._dirty.add(task.id)
            (buffer.end_callbacks if end_only else buffer.callbacks).add(callback)
            self.streams += 1
        self._reader.start()
        self._listener.start()
        return buffer

    def unsubscribe(self, subscription: Subscription) -> None:
        """Remove a stream, and the task's buffer with its last stream; calling twice is safe."""
        self._stream_limit.release(subscription.slot)
        buffer, task_id = subscription.buffer, subscription.task_id
        with self._lock:
            callbacks = (buffer.callbacks, buffer.end_callbacks)
            known = [some for some in callbacks if subscription.callback in some]
            if not known:
                return
            known[0].remove(subscription.callback)
            buffer.progress.pop(subscription.callback, None)
            self.streams -= 1
            if not any(callbacks) and self._buffers.get(task_id) is buffer:
                del self._buffers[task_id]

    def buffered(self, task_id: str) -> int:
        """Return how many events of a task are in memory."""
        with self._lock:
            buffer = self._buffers.get(task_id)
            return len(buffer.frames) if buffer else 0

    def threads(self) -> dict[str, dict[str, Any]]:
        """Return the state of each thread; see Loop.health."""
        return {loop.name: loop.health() for loop in (self._reader, self._listener)}

    def stop(self) -> None:
        """End all streams and both threads."""
        self._stopping.set()
        self._wakeup.set()
        with self._lock:
            callbacks = [
                callback
                for buffer in self._buffers.values()
                for callback in (*buffer.callbacks, *buffer.end_callbacks)
            ]
        for callback in callbacks:
            callback()

    def frames_after(self, buffer: EventBuffer, seq: int) -> list[Frame] | None:
        """Return the frames after `seq` from memory; None if some are no longer there."""
        with self._lock:
            return buffer.after(seq)

    def replay(self, task_id: str, *, after: int, limit: int) -> list[Frame]:
        """Return a page of a task's events from Postgres."""
        with statement(self._engine) as conn:
            return [Frame.of(event) for event in events.read(conn, task_id, after=after, limit=limit)]

    def _loop(
        self, name: str, work: Callable[[], object], *, away: type[Exception], pause_seconds: float
    ) -> Loop:
        return Loop(
            name,
            work,
            pace=Pace(longest_pause_seconds=pause_seconds),
            away=(away,),
            failed=metric.thread_failed,
            stopped=self._stopping,
        )

    def _listen(self) -> None:
        """Receive hints until the hub stops. Raises RedisError if the connection is lost.

        Hints sent between two subscriptions are lost, so a new subscription makes all tasks dirty.
        """
        client = open_subscriber(self._redis_url)
        with client, client.pubsub() as subscriber:  # type: ignore[no-untyped-call]  # theirs
            subscriber.subscribe(CHANNEL, PROGRESS_CHANNEL)
            while not self._stopping.is_set():
                message = subscriber.get_message(timeout=1.0)
                if message is None:
                    continue
                if message["type"] == "subscribe":
                    self._listener.succeed()
                    self._mark_all_dirty()
                elif message["channel"] == PROGRESS_CHANNEL.encode():
                    self._pass_on(message["data"].decode(errors="replace"))
                elif message["type"] == "message":
                    self._receive(message["data"].decode(errors="replace"))

    def _pass_on(self, message: str) -> None:
        """Give a transient event to the streams of its task that want it."""
        task_id, _, text = message.partition("\n")
        with self._lock:
            buffer = self._buffers.get(task_id)
            waiting = dict(buffer.progress) if buffer else {}
        for callback, texts in waiting.items():
            texts.append(text)
            callback()

    def _receive(self, hint: str) -> None:
        """Wake those who wait for the end of the task, or have its new events read for its streams."""
        task_id = hint.removeprefix(END_PREFIX)
        with self._lock:
            buffer = self._buffers.get(task_id)
            if buffer is None:
                return
            ended = list(buffer.end_callbacks) if hint != task_id else []
            if buffer.callbacks:
                self._dirty.add(task_id)
                self._wakeup.set()
        for callback in ended:
            callback()

    def _mark_all_dirty(self) -> None:
        with self._lock:
            self._dirty.update(self._buffers)
        self._wakeup.set()

    def _read(self) -> None:
        """Wait for new events, for _WAIT_SECONDS at most, and read them."""
        self._wakeup.wait(_WAIT_SECONDS)
        self._wakeup.clear()
        if self.is_leaving():
            self.stop()
        if time.monotonic() - self._checked_at >= LOST_HINTS_SECONDS:
            self._checked_at = time.monotonic()
            self._stream_limit.renew()
            self._find_missed()
        self._read_dirty()

    def _find_missed(self) -> None:
        """Find tasks with events whose hints were lost, and tasks that were deleted or lost events to a restore."""
        with self._lock:
            lasts = {task_id: buffer.last for task_id, buffer in self._buffers.items()}
        if not lasts:
            return
        with statement(self._engine) as conn:
            newest = events.last_numbers(conn, list(lasts))
        with self._lock:
            behind = [task_id for task_id, last in lasts.items() if newest.get(task_id, -1) < last]
            ending = {task_id: self._buffers[task_id] for task_id in behind if task_id in self._buffers}
            for task_id, buffer in ending.items():
                buffer.is_gone, buffer.is_undone = task_id not in newest, task_id in newest
            self._dirty.update(task_id for task_id, seq in newest.items() if seq > lasts[task_id])
            callbacks = [callback for buffer in ending.values() for callback in buffer.due_callbacks]
        for callback in callbacks:
            callback()

    def _read_dirty(self) -> None:
        """Read the dirty tasks' events that are not in memory yet, in one query, and call the streams' callbacks."""
        with self._lock:
            lasts = {
                task_id: buffer.last for task_id in self._dirty if (buffer := self._buffers.get(task_id))
            }
            self._dirty.clear()
        if not lasts:
            return
        try:
            with statement(self._engine) as conn:
                found = events.read_after(conn, lasts, limit=_READ_LIMIT)
        except SQLAlchemyError:
            self._mark_all_dirty()
            raise
        if len(found) == _READ_LIMIT:
            self._mark_all_dirty()
        for task_id, group in groupby(found, key=itemgetter(0)):
            self._add(task_id, [Frame.of(event) for _, event in group])

    def _add(self, task_id: str, frames: list[Frame]) -> None:
        with self._lock:
            buffer = self._buffers.get(task_id)
            if buffer is None:
                return
            buffer.add(frames)
            callbacks = buffer.due_callbacks
        for callback in callbacks:
            callback()


def install(app: Flask, orchestrator: Orchestrator) -> None:
    """Give the app its hub, on the orchestrator's servers."""
    settings = orchestrator.settings
    stream_limit = StreamLimit(settings.redis_url, max_streams=settings.tenant_max_streams)
    app.extensions[_EXTENSION] = Hub(orchestrator.engine, settings.redis_url, stream_limit=stream_limit)


def current_hub() -> Hub:
    """Return the hub of the current app."""
    return hub_of(current_app)


def hub_of(app: Flask) -> Hub:
    """Return an app's hub."""
    return cast(Hub, app.extensions[_EXTENSION])
