"""Defines crash points: moments at which a test can kill the process, to check that a crash there loses nothing."""

import os
import signal
import threading
from enum import StrEnum
from pathlib import Path

from sqlalchemy import Connection

VARIABLE = "OCTOLLM_CRASH_POINTS"
_FOLDER = os.environ.get(VARIABLE) or None
_STATEMENT = "SELECT pg_sleep(1)"
_KILL_AFTER_SECONDS = 0.2


class Point(StrEnum):
    """A crash point, named by what has happened and what has not happened yet."""

    COMMITTED_NOT_PUBLISHED = "committed-not-published"
    PUBLISHED_NOT_ACKNOWLEDGED = "published-not-acknowledged"
    MID_STATEMENT = "mid-statement"
    SUBMITTED_NOT_PUBLISHED = "submitted-not-published"
    BEGUN_EARLY_NOT_PUBLISHED = "begun-early-not-published"
    JUDGED_NOT_FINISHED = "judged-not-finished"
    CLAIMED_NOT_BEGUN = "claimed-not-begun"
    BEGUN_NOT_CALLED = "begun-not-called"
    CALLED_NOT_RETURNED = "called-not-returned"
    RETURNED_NOT_STORED = "returned-not-stored"
    BUILT_NOT_PUT_IN_PLACE = "built-not-put-in-place"
    SCHEDULE_DUE_NOT_FIRED = "schedule-due-not-fired"
    OTHER_CANCELLED_NOT_FIRED = "other-cancelled-not-fired"
    FIRED_NOT_PUBLISHED = "fired-not-published"
    FILE_SAVED = "file-saved-not-named"


def here(point: Point) -> None:
    """Kill this process with SIGKILL if a test has armed the point; otherwise do nothing, at the cost of a comparison.

    A test arms a point by creating a file with its name in $OCTOLLM_CRASH_POINTS. One process takes the file, writes
    its pid to NAME.hit and dies; its replacement continues.
    """
    if _FOLDER is not None and _take(Path(_FOLDER) / point):
        _die()


def within(conn: Connection, point: Point) -> None:
    """Like `here`, but die while a statement of the connection's transaction runs in Postgres."""
    if _FOLDER is not None and _take(Path(_FOLDER) / point):
        threading.Timer(_KILL_AFTER_SECONDS, _die).start()
        conn.exec_driver_sql(_STATEMENT)


def _take(armed: Path) -> bool:
    hit = armed.with_name(f"{armed.name}.hit")
    try:
        armed.rename(hit)
    except FileNotFoundError:
        return False
    hit.write_text(str(os.getpid()))
    return True


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
