"""Says when enough is under way: a tenant's open tasks, and the queued work of all tenants together."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import Connection, Engine

from orchestrator.errors import QueueFull, TooManyTasks
from orchestrator.store import memory, steps
from orchestrator.store.engine import statement

KEPT_SECONDS = 1.0
_RETRY_AFTER_SECONDS = 5
_MAX_TENANTS = 10_000
# no tenant is called so: names are not empty
_ALL = ""


@dataclass
class _Count:
    counted_at: float
    number: int


class Occupancy:
    """Counts what is under way, each number at most once in KEPT_SECONDS; threads share it.

    In between what this process accepts is added, so P processes overshoot a limit by what P - 1 of them accept
    in that time.
    """

    def __init__(self, engine: Engine, *, max_open_tasks: int, max_queued_steps: int) -> None:
        self._engine = engine
        self._max_open_tasks = max_open_tasks
        self._max_queued_steps = max_queued_steps
        self._counts: dict[str, _Count] = {}
        self._lock = threading.Lock()

    def require_room(self, tenant: str) -> None:
        """Raise QueueFull or TooManyTasks when a task more is too much."""
        queued = self._number(_ALL, lambda conn: steps.count_queued(conn, most=self._max_queued_steps))
        if queued >= self._max_queued_steps:
            raise QueueFull(
                details={"limit": self._max_queued_steps, "retry_after": _RETRY_AFTER_SECONDS},
            )
        tasks = self._number(tenant, lambda conn: memory.count_open(conn, tenant, most=self._max_open_tasks))
        if tasks >= self._max_open_tasks:
            raise TooManyTasks(details={"limit": self._max_open_tasks, "retry_after": _RETRY_AFTER_SECONDS})

    def add(self, tenant: str) -> None:
        """Note that this process accepted a task."""
        with self._lock:
            for name in (_ALL, tenant):
                if name in self._counts:
                    self._counts[name].number += 1

    def _number(self, name: str, count: Callable[[Connection], int]) -> int:
        now = time.monotonic()
        with self._lock:
            known = self._counts.get(name)
            if known is not None and now - known.counted_at < KEPT_SECONDS:
                return known.number
        with statement(self._engine) as conn:
            number = count(conn)
        with self._lock:
            if len(self._counts) >= _MAX_TENANTS:
                self._counts.clear()
            self._counts[name] = _Count(now, number)
        return number
