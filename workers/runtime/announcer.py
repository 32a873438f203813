"""Writes the event step.started of steps that do not end soon; that of a quick step is written with its end."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from orchestrator.chord.database import statement
from orchestrator.memory import claims
from orchestrator.memory.claims import Claim
from orchestrator.memory.hints import Hints
from orchestrator.models.execution_state import StepKind
from orchestrator.observability import metric
from orchestrator.process.loop import Loop, Pace

PAUSE_SECONDS: Final = 0.1
"""A step's start is announced after one to two pauses."""
_IDLE_SECONDS: Final = 60.0


class Announcer:
    """The steps of this process whose start is not announced yet; one thread announces those that last.

    The thread starts with the first step, so that a forked child has its own. It sleeps while there is no such step.
    """

    def __init__(self, engine: Engine, hints: Hints) -> None:
        self._engine = engine
        self._hints = hints
        self._started: dict[tuple[str, int], tuple[Claim, float]] = {}
        self._lock = threading.Lock()
        self._is_busy = threading.Event()
        self._loop = Loop(
            "announcer",
            self._announce_next,
            pace=Pace(longest_pause_seconds=1.0),
            away=(SQLAlchemyError,),
            failed=metric.thread_failed,
        )

    @contextmanager
    def watch(self, claim: Claim) -> Iterator[None]:
        """Announce the claim's start unless the block ends soon; does nothing for a plan and a judge."""
        if claim.kind != StepKind.STEP:
            yield
            return
        with self._lock:
            self._started[claim.id, claim.attempt] = claim, time.monotonic()
            self._is_busy.set()
        self._loop.start()
        try:
            yield
        finally:
            with self._lock:
                self._started.pop((claim.id, claim.attempt), None)

    def _announce_next(self) -> None:
        if not self._is_busy.wait(_IDLE_SECONDS):
            return
        time.sleep(PAUSE_SECONDS)
        started_before = time.monotonic() - PAUSE_SECONDS
        with self._lock:
            lasting = [claim for claim, at in self._started.values() if at <= started_before]
        for claim in lasting:
            with statement(self._engine) as conn:
                is_new = claims.announce(conn, claim.id)
            if is_new:
                self._hints.send(claim.task_id)
            with self._lock:
                self._started.pop((claim.id, claim.attempt), None)
        with self._lock:
            if not self._started:
                self._is_busy.clear()
