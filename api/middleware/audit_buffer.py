"""Holds what happened until it is written to the audit log: off the callers' way, bounded in memory and on disk."""

import threading
import time
from collections import deque
from typing import Any

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from orchestrator.chord.database import is_away, statement
from orchestrator.memory import audit_log
from orchestrator.memory.audit_log import AuditEntry, AuditOutcome
from orchestrator.observability import metric
from orchestrator.process.fixed_window import FixedWindow
from orchestrator.process.loop import Loop, Pace
from orchestrator.settings import Rate

FLUSH_SECONDS = 1.0
BATCH = 500
MAX_HELD = 10_000
# what was refused costs nobody anything: of it so much is kept, of one source and of all, in each process
DENIED_BY_SOURCE = Rate(10, 60)
DENIED_BY_ALL = Rate(60, 60)
TELL_LEFT_OUT_SECONDS = 60.0
_MAX_SOURCES = 10_000
_LEFT_OUT = "audit.left_out"


class AuditBuffer:
    """Entries of one process on their way to the database; threads share it. Its thread starts with the first entry.

    A process that is killed loses what it took in the last FLUSH_SECONDS; one that ends by `close` nothing. While the
    database is away MOST_HELD entries wait. What had no room, and what was refused too often, is counted: the number
    is told as an entry of its own, audit.left_out, once a minute.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._lock = threading.Lock()
        self._flushing = threading.Lock()
        self._held: deque[AuditEntry] = deque()
        self._sources: dict[str, FixedWindow] = {}
        self._all = FixedWindow(DENIED_BY_ALL.seconds)
        self._left_out = 0
        self._told_at = float("-inf")
        self._loop = Loop(
            "audit",
            self.flush,
            pace=Pace(FLUSH_SECONDS, FLUSH_SECONDS),
            away=(SQLAlchemyError,),
            failed=metric.thread_failed,
        )

    def add(self, entry: AuditEntry, *, source: str) -> None:
        """Take an entry; one that was not allowed only while `source`, and all together, have few of them."""
        with self._lock:
            is_kept = entry.outcome is AuditOutcome.ALLOWED or self._has_room_for(source)
            if is_kept and len(self._held) < MAX_HELD:
                self._held.append(entry)
            else:
                self._left_out += 1
        self._loop.start()

    def flush(self) -> None:
        """Write what is held. Raises SQLAlchemyError; it is held still, unless the database refuses it for good."""
        with self._flushing:
            while batch := self._take():
                try:
                    with statement(self._engine) as conn:
                        audit_log.append(conn, batch)
                except SQLAlchemyError as error:
                    self._put_back(batch, room=MAX_HELD if is_away(error) else 0)
                    raise

    def close(self) -> None:
        """Write what is held, and end the thread; what the database does not take is lost."""
        self._loop.stop()
        with self._lock:
            self._told_at = float("-inf")
        try:
            self.flush()
        finally:
            self._engine.dispose()

    def health(self) -> dict[str, Any]:
        """Return how its thread fares; see Loop.health."""
        return self._loop.health()

    def _take(self) -> list[AuditEntry]:
        with self._lock:
            batch = [self._held.popleft() for _ in range(min(BATCH, len(self._held)))]
            now = time.monotonic()
            if self._left_out and now - self._told_at >= TELL_LEFT_OUT_SECONDS:
                batch.append(AuditEntry(action=_LEFT_OUT, outcome=AuditOutcome.DENIED, times=self._left_out))
                self._left_out, self._told_at = 0, now
            return batch

    def _put_back(self, batch: list[AuditEntry], *, room: int) -> None:
        """Hold a batch again, the oldest first, as far as there is room for so many; count the rest."""
        with self._lock:
            for entry in reversed(batch):
                if entry.action == _LEFT_OUT:
                    self._left_out += entry.times
                    self._told_at = float("-inf")
                elif len(self._held) < room:
                    self._held.appendleft(entry)
                else:
                    self._left_out += 1

    def _has_room_for(self, source: str) -> bool:
        now = time.monotonic()
        if len(self._sources) >= _MAX_SOURCES:
            self._sources.clear()
        of_source = self._sources.setdefault(source, FixedWindow(DENIED_BY_SOURCE.seconds))
        return of_source.take(1, limit=DENIED_BY_SOURCE.calls, now=now) and self._all.take(
            1, limit=DENIED_BY_ALL.calls, now=now
        )
