"""Does one thing again and again, whatever it raises, and says how it fares: the one shape of our threads."""

import threading
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import structlog

FIRST_PAUSE_SECONDS = 0.25
LONGEST_PAUSE_SECONDS = 5.0

log = structlog.get_logger(__name__)


class Loop:
    """`work`, called every `every_seconds` in a thread of its own, or in the caller's by `run`, until it is stopped.

    The first call is `first_after_seconds` after the start.

    What it raises is logged (`away`: in one line, for a server that is away is no defect), counted by `failed`, and
    after a pause, which doubles up to `longest_pause_seconds`, the loop goes on. Work that does not return while all
    is well calls `succeed` itself. `stopped` ends the loop when it is set.
    """

    def __init__(
        self,
        name: str,
        work: Callable[[], object],
        *,
        every_seconds: float = 0.0,
        first_after_seconds: float = 0.0,
        longest_pause_seconds: float = LONGEST_PAUSE_SECONDS,
        away: tuple[type[Exception], ...] = (),
        failed: Callable[[str], object] = lambda name: None,
        stopped: threading.Event | None = None,
    ) -> None:
        self.name = name
        self._work = work
        self._every_seconds = every_seconds
        self._first_after_seconds = first_after_seconds
        self._longest_pause_seconds = longest_pause_seconds
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
        """Begin, unless it runs already: a forked child has no thread of its parent's and begins anew."""
        with self._lock:
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self.run, name=self.name, daemon=True)
                self._thread.start()

    def stop(self, *, wait_seconds: float = 0.0) -> None:
        """End after the call under way, and wait that long for it."""
        self._stopped.set()
        if self._thread is not None and wait_seconds:
            self._thread.join(wait_seconds)

    def run(self) -> None:
        """Go on in this thread until the loop is stopped."""
        self._stopped.wait(self._first_after_seconds)
        while not self._stopped.is_set():
            try:
                self._work()
            except Exception as error:
                self._stopped.wait(self._fail(error))
            else:
                self.succeed()
                self._stopped.wait(self._every_seconds)

    def succeed(self) -> None:
        """Note that the work does what it should."""
        if self._failing_since is not None:
            log.info("thread.recovered", thread=self.name, failures=self._failures)
        self._succeeded_at = datetime.now(UTC)
        self._failing_since, self._error, self._failures = None, None, 0

    def health(self) -> dict[str, Any]:
        """Return its state, `idle` before it starts, and since when it has been so, for /ready."""
        has_begun = self._thread is not None or self._succeeded_at is not None
        state = "failing" if self._failing_since else "working" if has_begun else "idle"
        return {
            "state": state,
            "succeeded_at": _told(self._succeeded_at),
            "failing_since": _told(self._failing_since),
            "error": self._error,
        }

    def _fail(self, error: Exception) -> float:
        """Note a failure and return the pause after it."""
        self._failing_since = self._failing_since or datetime.now(UTC)
        self._error = type(error).__name__
        # the first, then ever fewer of a long series
        if self._failures & (self._failures + 1) == 0:
            told = {"thread": self.name, "error": self._error, "failures": self._failures + 1}
            if isinstance(error, self._away):
                log.warning("thread.server_away", **told)
            else:
                log.error("thread.failed", **told, exc_info=error)
        pause = FIRST_PAUSE_SECONDS * 2.0 ** min(self._failures, 30)
        self._failures += 1
        self._failed(self.name)
        return min(pause, self._longest_pause_seconds)


def _told(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
