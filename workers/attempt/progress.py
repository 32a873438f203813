"""StepProgress: writes what an arm says of its progress as numbered events, at most one a second."""

import math
import re
import threading
import time
from typing import Final

import structlog
from sqlalchemy.exc import SQLAlchemyError

from orchestrator.chord.database import statement
from orchestrator.memory import claims
from orchestrator.safety import redact
from workers.attempt.context import AttemptContext

PAUSE_SECONDS: Final = 1.0
MAX_MESSAGE_CHARACTERS: Final = 200
_MAX_READ_CHARACTERS: Final = 2_000
# controls of terminals, the NUL and halves of characters, which Postgres refuses
_ODD: Final = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")

log = structlog.get_logger(__name__)


class StepProgress:
    """The progress of one attempt; several threads of it may report.

    The percentage never falls. A report that comes too soon is written by a timer once PAUSE_SECONDS have passed, or
    replaced by a later one. The statement that writes checks that the attempt still runs, so that a late timer does no
    harm. Progress is never a reason to fail: a database that is away loses reports.
    """

    def __init__(self, attempt: AttemptContext) -> None:
        self._attempt = attempt
        self._lock = threading.Lock()
        self._percent: float | None = None
        self._message = ""
        self._written: tuple[float | None, str] | None = None
        self._written_at = -math.inf
        self._timer: threading.Timer | None = None
        self._is_over = False

    def report(self, percent: float | None, message: str) -> None:
        """Show a percentage from 0 to 100, or None, and a message. Raises nothing."""
        with self._lock:
            if percent is not None:
                self._percent = max(percent, self._percent or 0.0)
            self._message = message
            wait = self._written_at + PAUSE_SECONDS - time.monotonic()
            if wait <= 0:
                self._write()
            elif self._timer is None and not self._is_over:
                self._timer = threading.Timer(wait, self._write_late)
                self._timer.daemon = True
                self._timer.start()

    def _write_late(self) -> None:
        with self._lock:
            self._timer = None
            self._write()

    def _write(self) -> None:
        claim, process = self._attempt.claim, self._attempt.process
        said = (self._percent, _plain(self._message))
        if self._is_over or said == self._written or self._attempt.stop.is_revoked():
            return
        is_first, self._written, self._written_at = self._written is None, said, time.monotonic()
        try:
            with statement(process.engine) as conn:
                if is_first:
                    # a step that has just started is not announced yet
                    claims.announce(conn, claim.id)
                is_written = claims.report(
                    conn, claim.id, attempt=claim.attempt, percent=said[0], message=said[1]
                )
        except SQLAlchemyError as error:
            log.warning("progress.not_written", error=type(error).__name__)
        else:
            self._is_over = not is_written
            process.hints.send(claim.task_id)


def _plain(message: str) -> str:
    """Return a message as one short line that Postgres and terminals take, without secrets."""
    line = redact(" ".join(_ODD.sub(" ", message[:_MAX_READ_CHARACTERS]).split()), only="secret.")
    return line if len(line) <= MAX_MESSAGE_CHARACTERS else line[: MAX_MESSAGE_CHARACTERS - 1] + "…"
