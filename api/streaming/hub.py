"""Keeps the streams of this process fed: one thread reads what is new from Postgres, each stream takes its part.

Postgres is the truth and a hint only a reason to look. A task's events are numbered without a gap, so a stream
is its cursor: what it takes next is the event after it, from memory or from Postgres, never twice.
"""

import threading
import time
from collections.abc import Callable
from enum import Enum
from functools import partial
from itertools import groupby
from operator import itemgetter
from typing import Any, Self

import redis
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from api.streaming.event_buffer import Frame, Topic
from api.streaming.listener import PAUSE_SECONDS, hear
from api.streaming.places import StreamPlaces
from orchestrator.chord.database import statement
from orchestrator.memory import events
from orchestrator.memory.tasks import TaskRecord
from orchestrator.models.errors import Unavailable
from orchestrator.models.execution_state import TaskStatus
from orchestrator.observability import metric
from orchestrator.process.loop import Loop, Pace

DEFAULT_LIMIT = 112
LOST_HINTS_SECONDS = 5.0
_READ_LIMIT = 2000
_PAGE = 500
_LOOK_SECONDS = 0.25
_NO_ROOM = "There is no room for another stream here; try again."


class End(Enum):
    """Why a stream must end."""

    DONE = "done"
    GONE = "gone"
    RESTART = "restart"


class TooSlow(Exception):
    """A stream that had caught up fell further behind than memory reaches."""


class Watch:
    """One stream's place in a task's events; close it, or use it as a context manager."""

    def __init__(
        self, hub: "Hub", task_id: str, topic: Topic, *, place: str, after: int, ring: Callable[[], None]
    ) -> None:
        self.cursor = after
        self._place = place
        self._hub = hub
        self._task_id = task_id
        self._topic = topic
        self._ring = ring
        self._was_live = False
        self._is_done = False

    @property
    def end(self) -> End | None:
        """Why the stream must end now, if it must."""
        if self._is_done or (self._topic.is_over and self.cursor >= self._topic.last):
            return End.DONE
        if self._topic.is_gone:
            return End.GONE
        return End.RESTART if self._hub.is_stopping else None

    def take(self) -> list[Frame]:
        """Return the next frames, if there are any: from memory, or a page of them from Postgres.

        Raises TooSlow, and SQLAlchemyError when Postgres is away.
        """
        frames = self._hub.frames_after(self._topic, self.cursor)
        if frames is not None:
            self._was_live = True
        elif self._was_live:
            raise TooSlow
        else:
            frames = self._hub.replay(self._task_id, after=self.cursor, limit=_PAGE)
        if frames:
            self.cursor = frames[-1].seq
            self._is_done = frames[-1].is_last
        return frames

    def close(self) -> None:
        """Give the place back; calling twice is safe."""
        self._hub.leave(self._task_id, self._topic, self._ring, place=self._place)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Hub:
    """The streams of one process, at most `limit` of them. Its threads start with the first.

    `streams` is how many there are now. `is_leaving` is asked several times a second whether the process is about
    to end; then all streams do.
    """

    def __init__(
        self, engine: Engine, redis_url: str, *, places: StreamPlaces, limit: int = DEFAULT_LIMIT
    ) -> None:
        self.limit = limit
        self._places = places
        self.is_leaving: Callable[[], bool] = lambda: False
        self._stopping = threading.Event()
        self._engine = engine
        self._lock = threading.Lock()
        self._bell = threading.Event()
        self._topics: dict[str, Topic] = {}
        self._dirty: set[str] = set()
        self.streams = 0
        self._checked_at = time.monotonic()
        self._reader = self._loop("hub", self._look, away=(SQLAlchemyError,), pause_seconds=_LOOK_SECONDS)
        listening = partial(
            hear, redis_url, hint=self.hint, resubscribed=self._hears_again, stop=self._stopping
        )
        self._listener = self._loop("hints", listening, away=(redis.RedisError,), pause_seconds=PAUSE_SECONDS)

    @property
    def is_stopping(self) -> bool:
        """Whether all streams must end."""
        return self._stopping.is_set()

    def watch(self, task: TaskRecord, *, after: int, ring: Callable[[], None]) -> Watch:
        """Give a stream its place after number `after`; `ring` is called from another thread when to look again.

        Raises Unavailable when the process has no room for another stream, or is about to end, and TenantLimit when
        the tenant has as many as it may have.
        """
        if self._is_full():
            raise Unavailable(_NO_ROOM)
        place = self._places.take(task.tenant)
        try:
            topic = self._enter(task, ring)
        except Unavailable:
            self._places.give_back(place)
            raise
        self._bell.set()
        return Watch(self, task.id, topic, place=place, after=after, ring=ring)

    def _is_full(self) -> bool:
        return self.is_stopping or self.streams >= self.limit

    def _enter(self, task: TaskRecord, ring: Callable[[], None]) -> Topic:
        with self._lock:
            if self._is_full():
                raise Unavailable(_NO_ROOM)
            topic = self._topics.get(task.id)
            if topic is None or topic.is_gone:
                is_over = TaskStatus(task.status).is_final()
                topic = self._topics[task.id] = Topic(task.event_seq, is_over=is_over)
                self._dirty.add(task.id)
            topic.rings.add(ring)
            self.streams += 1
        self._reader.start()
        self._listener.start()
        return topic

    def leave(self, task_id: str, topic: Topic, ring: Callable[[], None], *, place: str) -> None:
        """Take a stream off; the task is forgotten with the last one."""
        self._places.give_back(place)
        with self._lock:
            if ring not in topic.rings:
                return
            topic.rings.remove(ring)
            self.streams -= 1
            if not topic.rings and self._topics.get(task_id) is topic:
                del self._topics[task_id]

    def hint(self, task_id: str) -> None:
        """Look for new events of this task, if anybody watches it."""
        with self._lock:
            if task_id not in self._topics:
                return
            self._dirty.add(task_id)
        self._bell.set()

    def backlog(self, task_id: str) -> int:
        """Return how many events of a task are in memory."""
        with self._lock:
            topic = self._topics.get(task_id)
            return len(topic.frames) if topic else 0

    def look_at_all(self) -> None:
        """Look for new events of every task that is watched: hints may have been lost."""
        with self._lock:
            self._dirty.update(self._topics)
        self._bell.set()

    def threads(self) -> dict[str, dict[str, Any]]:
        """Return how each thread fares; see Loop.health."""
        return {loop.name: loop.health() for loop in (self._reader, self._listener)}

    def stop(self) -> None:
        """End all streams, and both threads."""
        self._stopping.set()
        self._bell.set()
        with self._lock:
            rings = [ring for topic in self._topics.values() for ring in topic.rings]
        for ring in rings:
            ring()

    def frames_after(self, topic: Topic, seq: int) -> list[Frame] | None:
        """Return what memory has of a task after `seq`; None when that is not all."""
        with self._lock:
            return topic.after(seq)

    def replay(self, task_id: str, *, after: int, limit: int) -> list[Frame]:
        """Return a page of a task's events from Postgres."""
        with statement(self._engine) as conn:
            return [Frame.of(event) for event in events.read(conn, task_id, after=after, limit=limit)]

    def _loop(
        self,
        name: str,
        work: Callable[[], object],
        *,
        away: tuple[type[Exception], ...],
        pause_seconds: float,
    ) -> Loop:
        return Loop(
            name,
            work,
            pace=Pace(longest_pause_seconds=pause_seconds),
            away=away,
            failed=metric.thread_failed,
            stopped=self._stopping,
        )

    def _hears_again(self) -> None:
        self._listener.succeed()
        self.look_at_all()

    def _look(self) -> None:
        """Wait until there is something to look for, but not for long, and read it."""
        self._bell.wait(_LOOK_SECONDS)
        self._bell.clear()
        if self.is_leaving():
            self.stop()
        if time.monotonic() - self._checked_at >= LOST_HINTS_SECONDS:
            self._checked_at = time.monotonic()
            self._places.renew()
            self._find_lost()
        self._read_dirty()

    def _find_lost(self) -> None:
        """Find tasks with events that no hint told of, and tasks that are gone."""
        with self._lock:
            lasts = {task_id: topic.last for task_id, topic in self._topics.items()}
        if not lasts:
            return
        with statement(self._engine) as conn:
            newest = events.last_numbers(conn, list(lasts))
        with self._lock:
            gone = [self._topics[task_id] for task_id in lasts.keys() - newest if task_id in self._topics]
            for topic in gone:
                topic.is_gone = True
            self._dirty.update(task_id for task_id, seq in newest.items() if seq > lasts[task_id])
            rings = [ring for topic in gone for ring in topic.rings]
        for ring in rings:
            ring()

    def _read_dirty(self) -> None:
        """Read what the dirty tasks have after what is in memory, in one query; ring whoever waits for it."""
        with self._lock:
            lasts = {task_id: topic.last for task_id in self._dirty if (topic := self._topics.get(task_id))}
            self._dirty.clear()
        if not lasts:
            return
        try:
            with statement(self._engine) as conn:
                found = events.read_after(conn, lasts, limit=_READ_LIMIT)
        except SQLAlchemyError:
            self.look_at_all()
            raise
        if len(found) == _READ_LIMIT:
            self.look_at_all()
        for task_id, group in groupby(found, key=itemgetter(0)):
            self._add(task_id, [Frame.of(event) for _, event in group])

    def _add(self, task_id: str, frames: list[Frame]) -> None:
        with self._lock:
            topic = self._topics.get(task_id)
            if topic is None:
                return
            topic.add(frames)
            rings = list(topic.rings)
        for ring in rings:
            ring()
