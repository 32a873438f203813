"""Buffers audit entries and writes them to the database in batches, outside the callers' requests."""

import threading
import time
from collections import Counter, deque
from typing import Any

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from orchestrator.chord.database import is_away, statement
from orchestrator.memory import audit_log
from orchestrator.memory.audit_log import AuditEntry, AuditOutcome
from orchestrator.observability import metric
from orchestrator.process.loop import Loop, Pace

FLUSH_SECONDS = 1.0
BATCH = 500
MAX_HELD = 10_000
# refused calls cost their sender nothing, so each process keeps only so many of them in a window
WINDOW_SECONDS = 60.0
MAX_REFUSED_BY_SOURCE = 10
MAX_REFUSED = 60
REPORT_LEFT_OUT_SECONDS = 60.0
_LEFT_OUT = "audit.left_out"


class RefusalWindow:
    """Counts the refused calls kept in the current window, for each source and in total. Not thread-safe.

    A window starts with its first refused call. MAX_REFUSED also limits how many sources are held.
    """

    def __init__(self) -> None:
        self._ends_at = float("-inf")
        self._kept: Counter[str] = Counter()

    def admit(self, source: str, *, now: float) -> bool:
        """Return whether one more refused call of `source` is kept; `now` is in seconds of a monotonic clock."""
        if now >= self._ends_at:
            self._kept.clear()
            self._ends_at = now + WINDOW_SECONDS
        if self._kept[source] >= MAX_REFUSED_BY_SOURCE or self._kept.total() >= MAX_REFUSED:
            return False
        self._kept[source] += 1
        return True


class AuditBuffer:
    """Audit entries of one process that are not written yet; thread-safe. Its thread starts with the first entry.

    A killed process loses the entries of the last FLUSH_SECONDS; `close` writes them all. While the database is away
    at most MAX_HELD entries are held. Entries that were dropped, for lack of room or as too many refusals, are counted:
    once a minute the count is written as an entry of its own, audit.left_out.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._lock = threading.Lock()
        self._flushing = threading.Lock()
        self._held: deque[AuditEntry] = deque()
        self._refusals = RefusalWindow()
        self._left_out = 0
        self._reported_at = float("-inf")
        self._loop = Loop(
            "audit",
            self.flush,
            pace=Pace(FLUSH_SECONDS, FLUSH_SECONDS),
            away=(SQLAlchemyError,),
            failed=metric.thread_failed,
        )

    def add(self, entry: AuditEntry, *, source: str) -> None:
        """Add an entry; refused and failed calls are kept only up to a limit for `source` and for all sources."""
        with self._lock:
            is_kept = entry.outcome is AuditOutcome.ALLOWED or self._refusals.admit(
                source, now=time.monotonic()
            )
            if is_kept and len(self._held) < MAX_HELD:
                self._held.append(entry)
            else:
                self._left_out += 1
        self._loop.start()

    def flush(self) -> None:
        """Write all entries. Raises SQLAlchemyError: entries stay buffered only if the database was away."""
        with self._flushing:
            while batch := self._take_batch():
                try:
                    with statement(self._engine) as conn:
                        audit_log.append(conn, batch)
                except SQLAlchemyError as error:
                    self._put_back(batch, room=MAX_HELD if is_away(error) else 0)
                    raise

    def close(self) -> None:
        """Write all entries and stop the thread; entries that the database does not take are lost."""
        self._loop.stop()
        with self._lock:
            self._reported_at = float("-inf")
        try:
            self.flush()
        finally:
            self._engine.dispose()

    def health(self) -> dict[str, Any]:
        """Return the state of its thread; see Loop.health."""
        return self._loop.health()

    def _take_batch(self) -> list[AuditEntry]:
        with self._lock:
            batch = [self._held.popleft() for _ in range(min(BATCH, len(self._held)))]
            now = time.monotonic()
            if self._left_out and now - self._reported_at >= REPORT_LEFT_OUT_SECONDS:
                batch.append(AuditEntry(action=_LEFT_OUT, outcome=AuditOutcome.DENIED, times=self._left_out))
                self._left_out, self._reported_at = 0, now
            return batch

    def _put_back(self, batch: list[AuditEntry], *, room: int) -> None:
        """Return a batch to the front of the buffer while it holds fewer than `room` entries; count the rest."""
        with self._lock:
            for entry in reversed(batch):
                if entry.action == _LEFT_OUT:
                    self._left_out += entry.times
                    self._reported_at = float("-inf")
                elif len(self._held) < room:
                    self._held.appendleft(entry)
                else:
                    self._left_out += 1
