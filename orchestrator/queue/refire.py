"""The thread that publishes bodies which a crash left ready, in an application that has no sweeper for it."""

import threading
import time
from collections.abc import Callable
from typing import Final

import structlog

REFIRE_SECONDS: Final = 1.0

log = structlog.get_logger(__name__)


def start(fire_ready: Callable[[], int]) -> None:
    """Call `fire_ready` once a second until the process ends."""
    threading.Thread(target=_run, args=(fire_ready,), name="octollm-refire", daemon=True).start()


def _run(fire_ready: Callable[[], int]) -> None:
    while True:
        try:
            fired = fire_ready()
            if fired:
                log.warning("chord.refired", chords=fired)
        except Exception as error:
            log.warning("chord.refire_failed", error=repr(error))
        time.sleep(REFIRE_SECONDS)
