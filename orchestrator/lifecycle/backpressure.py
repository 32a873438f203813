"""Refuses new tasks while too many are open or queued, of one tenant or of all, or its tools took too much time."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import Connection, Engine

from orchestrator.chord.database import statement
from orchestrator.memory import steps, tasks
from orchestrator.models.errors import QueueFull, TenantLimit, TooManyTasks
from orchestrator.settings import Settings

KEPT_SECONDS = 1.0
TOOL_SECONDS_KEPT_SECONDS = 30.0
_TOOL_RETRY_AFTER_SECONDS = 600
_RETRY_AFTER_SECONDS = 5
_MAX_TENANTS = 10_000
# stands for all tenants: a tenant's name is never empty
_ALL = ""


@dataclass
class _Count:
    counted_at: float
    number: int


class Backpressure:
    """Counts open tasks, queued steps and tool seconds, and keeps each count for a second or more; thread-safe.

    Between two counts it adds the tasks that this process accepts, so P processes can exceed a limit by what the
    other P - 1 accept in that time.
    """

    def __init__(self, engine: Engine, *, settings: Settings) -> None:
        self._engine = engine
        self._settings = settings
        self._counts: dict[tuple[str, str], _Count] = {}
        self._lock = threading.Lock()

    def require_room(self, tenant: str) -> None:
        """Raise QueueFull, TooManyTasks or TenantLimit when the tenant may not submit another task now."""
        limit = self._settings.max_queued_steps
        if self._number("queued", _ALL, lambda conn: steps.count_queued(conn, limit=limit)) >= limit:
            raise QueueFull(details={"limit": limit, "retry_after": _RETRY_AFTER_SECONDS})
        limit = self._settings.max_open_tasks
        if self._number("open", tenant, lambda conn: tasks.count_open(conn, tenant, limit=limit)) >= limit:
            raise TooManyTasks(details={"limit": limit, "retry_after": _RETRY_AFTER_SECONDS})
        limit = self._settings.tenant_max_queued_steps
        if (
            self._number("queued", tenant, lambda conn: steps.count_queued_of(conn, tenant, limit=limit))
            >= limit
        ):
            raise _limit(
                "TENANT_MAX_QUEUED_STEPS",
                limit,
                f"The tenant has {limit} queued steps, as many as it may have; wait until some have run.",
                retry_after=_RETRY_AFTER_SECONDS,
            )
        limit = self._settings.tenant_cpu_seconds_a_day
        if self._number("tools", tenant, lambda conn: steps.tool_seconds(conn, tenant)) >= limit:
            raise _limit(
                "TENANT_CPU_SECONDS_A_DAY",
                limit,
                f"The tenant's executor and coder steps took {limit} seconds in the last 24 hours, as many as they "
                "may; submit again later.",
                retry_after=_TOOL_RETRY_AFTER_SECONDS,
            )

    def add(self, tenant: str) -> None:
        """Count a task that this process accepted."""
        with self._lock:
            for name in (("queued", _ALL), ("open", tenant), ("queued", tenant)):
                if name in self._counts:
                    self._counts[name].number += 1

    def _number(self, kind: str, tenant: str, count: Callable[[Connection], int]) -> int:
        name, now = (kind, tenant), time.monotonic()
        kept_seconds = TOOL_SECONDS_KEPT_SECONDS if kind == "tools" else KEPT_SECONDS
        with self._lock:
            known = self._counts.get(name)
            if known is not None and now - known.counted_at < kept_seconds:
                return known.number
        with statement(self._engine) as conn:
            number = count(conn)
        with self._lock:
            if len(self._counts) >= _MAX_TENANTS:
                self._counts.clear()
            self._counts[name] = _Count(now, number)
        return number


def _limit(setting: str, value: int, message: str, *, retry_after: int) -> TenantLimit:
    return TenantLimit(message, details={"setting": setting, "limit": value, "retry_after": retry_after})
