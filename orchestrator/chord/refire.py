"""The thread that publishes bodies which a crash left ready, in an application that has no sweeper for it."""

from collections.abc import Callable
from typing import Final

import structlog

from orchestrator.process.loop import Loop

REFIRE_SECONDS: Final = 1.0

log = structlog.get_logger(__name__)


def start(fire_ready: Callable[[], int]) -> None:
    """Call `fire_ready` once a second until the process ends."""

    def refire() -> None:
        fired = fire_ready()
        if fired:
            log.warning("chord.refired", chords=fired)

    Loop("octollm-refire", refire, every_seconds=REFIRE_SECONDS).start()
