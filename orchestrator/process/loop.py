"""Runs a function again and again in a thread, through every exception, and reports its health."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import structlog

FIRST_PAUSE_SECONDS = 0.25
LONGEST_PAUSE_SECONDS = 5.0

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Pace:
    """When a loop calls its work: after `first_after_seconds`, then `every_seconds` after each success.

    After a failure the pause doubles from 0.25 s up to `longest_pause_seconds`.
    """

    every_seconds: float = 0.0
    first_after_seconds: float = 0.0
    longest_pause_seconds: float = LONGEST_PAUSE_SECONDS


class Loop:
    """Calls `work` again and again until stopped: in a thread of its own after `start`, in the caller's by `run`.

    An exception is logged (in one line for the classes in `away`, since an absent server is not a defect), reported to
    `failed` with the loop's name, and followed by a pause; the loop goes on. Work that does not return while it
    succeeds calls `succeed` itself. Setting `stopped` ends the loop.
    """

    def __init__(
        self,
        name: str,
        work: Callable[[], object],
        *,
        pace: Pace = Pace(),  # it is frozen
        away: tuple[type[Exception], ...] = (),
        failed: Callable[[str], object] = lambda name: None,
        stopped: threading.Event | None = None,
    ) -> None:
        self.name = name
        self._work = work
        self._pace = pace
        self._away = away
        self._failed = failed
        self._stopped = stopped or threading.Event()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._failures = 0
        self._error: str | None = None
        self._succeeded_at: datetime | None = None
        self._failing_since: datetime | None = None

    def start(self) -> None:
        """Start the thread unless it runs. A forked child does not inherit the thread and starts its own."""
        with self._lock:
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self.run, name=self.name, daemon=True)
                self._thread.start()

    def stop(self, *, wait_seconds: float = 0.0) -> None:
        """Stop after the current call, waiting at most `wait_seconds` for it to return."""
        self._stopped.set()
        if self._thread is not None and wait_seconds:
            self._thread.join(wait_seconds)

    def run(self) -> None:
        """Run in this thread until the loop is stopped."""
        self._stopped.wait(self._pace.first_after_seconds)
        while not self._stopped.is_set():
            try:
                self._work()
            except Exception as error:
                # whoever stops a loop may stop its server next
                if self._stopped.is_set() and isinstance(error, self._away):
                    return
                self._stopped.wait(self._fail(error))
            else:
                self.succeed()
                self._stopped.wait(self._pace.every_seconds)

    def succeed(self) -> None:
        """Record a success."""
        if self._failing_since is not None:
            log.info("thread.recovered", thread=self.name, failures=self._failures)
        self._succeeded_at = datetime.now(UTC)
        self._failing_since, self._error, self._failures = None, None, 0

    def health(self) -> dict[str, Any]:
        """Return its state for /ready: idle (not started), working or failing, with times and the error's class."""
        has_begun = self._thread is not None or self._succeeded_at is not None
        state = "failing" if self._failing_since else "working" if has_begun else "idle"
        return {
            "state": state,
            "succeeded_at": _timestamp(self._succeeded_at),
            "failing_since": _timestamp(self._failing_since),
            "error": self._error,
        }

    def _fail(self, error: Exception) -> float:
        """Record a failure and return the pause after it, in seconds."""
        self._failing_since = self._failing_since or datetime.now(UTC)
        self._error = type(error).__name__
        # log failures 1, 2, 4, 8, ... of a series
        if self._failures & (self._failures + 1) == 0:
            fields = {"thread": self.name, "error": self._error, "failures": self._failures + 1}
            if isinstance(error, self._away):
                log.warning("thread.server_away", **fields)
            else:
                log.error("thread.failed", **fields, exc_info=error)
        pause = FIRST_PAUSE_SECONDS * 2.0 ** min(self._failures, 30)
        self._failures += 1
        self._failed(self.name)
        return min(pause, self._pace.longest_pause_seconds)


def _timestamp(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
