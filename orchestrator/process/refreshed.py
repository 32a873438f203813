"""Keeps a value that is read again in the background, so that its users rarely wait for the read."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Generic, NamedTuple, TypeVar

T = TypeVar("T")


class _Reading(NamedTuple, Generic[T]):
    value: T
    read_at: float


class Refreshed(Generic[T]):
    """The last value of `read`; thread-safe. Nothing is read while nobody uses it.

    `refresh` begins a read in a thread if the value is older than `fresh_seconds`. `get` returns the value unless it
    is older than `stale_seconds`; then it waits for the read. A user that calls `refresh` some time before `get` does
    not wait. Ages count from the beginning of a read.
    """

    def __init__(
        self,
        read: Callable[[], T],
        *,
        fresh_seconds: float,
        stale_seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._read = read
        self._fresh_seconds = fresh_seconds
        self._stale_seconds = stale_seconds
        self._clock = clock
        self._lock = threading.Lock()
        self._latest: _Reading[T] | None = None
        self._running: Future[_Reading[T]] | None = None

    def refresh(self) -> None:
        """Begin a read if the value is not fresh and no read runs; return at once."""
        if not self._is_younger_than(self._fresh_seconds):
            self._begin()

    def get(self) -> T:
        """Return the value; raises what a read raised that it had to wait for."""
        while True:
            latest = self._latest
            if latest is not None and self._clock() - latest.read_at < self._stale_seconds:
                self.refresh()
                return latest.value
            running = self._begin()
            if running is not None:
                return running.result().value

    def _is_younger_than(self, seconds: float) -> bool:
        latest = self._latest
        return latest is not None and self._clock() - latest.read_at < seconds

    def _begin(self) -> "Future[_Reading[T]] | None":
        """Start the thread that reads, unless one runs; return its future. None if a read has just ended."""
        with self._lock:
            if self._running is None:
                if self._is_younger_than(self._fresh_seconds):
                    return None
                self._running = Future()
                threading.Thread(target=self._run, args=(self._running,), name="refresh", daemon=True).start()
            return self._running

    def _run(self, running: "Future[_Reading[T]]") -> None:
        read_at = self._clock()
        try:
            latest = _Reading(self._read(), read_at)
        except BaseException as error:
            self._end(None)
            running.set_exception(error)
        else:
            self._end(latest)
            running.set_result(latest)

    def _end(self, latest: _Reading[T] | None) -> None:
        with self._lock:
            self._latest = latest or self._latest
            self._running = None
