"""Renews the leases of this process, and stops the attempts whose lease is lost."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import structlog
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from orchestrator.chord.database import statement
from orchestrator.memory import steps
from orchestrator.memory.claims import Claim
from orchestrator.observability import metric
from orchestrator.process.loop import Loop, Pace
from workers.arms.base import CancelToken

log = structlog.get_logger(__name__)

_MAX_HINTS = 1_000


@dataclass(frozen=True)
class _Lease:
    task_id: str
    attempt: int
    deadline: float
    token: CancelToken


class Leases:
    """The leases that this process holds; one thread renews all of them in one statement.

    The thread starts with the first lease, so that a forked child has its own. A lease is not renewed past its
    attempt's deadline, so that an attempt which hangs loses it.
    """

    def __init__(self, engine: Engine, *, lease_seconds: float, heartbeat_seconds: float) -> None:
        self._engine = engine
        self._lease_seconds = lease_seconds
        self._heartbeat_seconds = heartbeat_seconds
        self._held: dict[str, _Lease] = {}
        # tasks that ended lately, as hints said, and when
        self._ended: dict[str, float] = {}
        self._lock = threading.Lock()
        self._loop = Loop(
            "leases",
            self.beat,
            pace=Pace(heartbeat_seconds, heartbeat_seconds, heartbeat_seconds),
            away=(SQLAlchemyError,),
            failed=metric.thread_failed,
        )

    @contextmanager
    def hold(self, claim: Claim, *, deadline: float) -> Iterator[CancelToken]:
        """Renew the claim's lease until the block ends or `deadline` (time.monotonic) passes.

        Yields the stop signal: set when the lease is lost, the task has ended or the deadline has passed.
        """
        token = CancelToken(deadline)
        with self._lock:
            self._held[claim.id] = _Lease(claim.task_id, claim.attempt, deadline, token)
            may_have_ended = claim.task_id in self._ended
        self._loop.start()
        if may_have_ended:
            self.beat_now()
        try:
            yield token
        finally:
            with self._lock:
                if self._held.get(claim.id, None) is not None and self._held[claim.id].token is token:
                    del self._held[claim.id]

    def beat(self) -> None:
        """Renew the held leases before their deadline; set the token of each lease that is lost."""
        now = time.monotonic()
        with self._lock:
            held = dict(self._held)
        live = {step_id: lease.attempt for step_id, lease in held.items() if lease.deadline > now}
        if not live:
            return
        with statement(self._engine) as conn:
            renewed = steps.renew(conn, live, lease_seconds=self._lease_seconds)
        for step_id in live.keys() - renewed:
            log.warning("lease.lost", step_id=step_id, attempt=live[step_id])
            held[step_id].token.set()

    def beat_now(self) -> None:
        """Renew the leases before the next heartbeat, which does it if the database is away now."""
        try:
            self.beat()
        except SQLAlchemyError as error:
            log.warning("interrupts.database_away", error=type(error).__name__)

    def hear_end(self, task_id: str) -> bool:
        """Return whether an attempt at a step of this task runs here, after a hint that the task ended.

        The hint is kept for a heartbeat's time: an attempt that was claimed before the end may begin after it.
        """
        now = time.monotonic()
        with self._lock:
            self._ended.pop(task_id, None)
            self._ended[task_id] = now
            while (
                len(self._ended) > _MAX_HINTS
                or now - next(iter(self._ended.values())) > self._heartbeat_seconds
            ):
                del self._ended[next(iter(self._ended))]
            return any(lease.task_id == task_id for lease in self._held.values())

    def drop(self) -> None:
        """Set every token and renew no lease again; call it once the leases were handed back."""
        with self._lock:
            held, self._held = self._held, {}
        for lease in held.values():
            lease.token.set()
