"""Checks whether tasks can run; queries the servers at most once a second, however often it is called."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, cast

import redis
import structlog
from flask import Flask, current_app

from api.middleware import audit, context
from api.streaming.hub import current_hub
from orchestrator.auth import permit
from orchestrator.chord.database import fault_of, is_away, statement
from orchestrator.connections import redis_client
from orchestrator.memory import pools
from orchestrator.models.arm_capability import ARMS
from orchestrator.observability import metric
from orchestrator.orchestrator import Orchestrator
from orchestrator.settings import Settings

CACHE_SECONDS = 1.0
_EXTENSION = "octollm_readiness"

_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class ReadinessReport:
    """The result of the checks at `checked_at`."""

    is_ready: bool
    checks: dict[str, Any]
    warnings: list[str]
    checked_at: datetime


@dataclass
class ReadinessProbe:
    """One app's latest report; thread-safe."""

    orchestrator: Orchestrator
    _report: ReadinessReport | None = None
    _checked_at: float = float("-inf")
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def report(self) -> ReadinessReport:
        """Return a report at most CACHE_SECONDS old, or an older one while another thread makes a new one.

        Servers that are away respond slowly: callers must not all wait for them.
        """
        latest = self._report
        if latest and time.monotonic() - self._checked_at < CACHE_SECONDS:
            return latest
        if not self._lock.acquire(blocking=latest is None):
            return cast(ReadinessReport, latest)
        try:
            if self._report is None or time.monotonic() - self._checked_at >= CACHE_SECONDS:
                self._report = _check(self.orchestrator)
                self._checked_at = time.monotonic()
            return self._report
        finally:
            self._lock.release()


def install(app: Flask) -> None:
    """Give the app its readiness probe."""
    app.extensions[_EXTENSION] = ReadinessProbe(context.orchestrator_of(app))


def report() -> ReadinessReport:
    """Return the report of the current app."""
    return cast(ReadinessProbe, current_app.extensions[_EXTENSION]).report()


def _check(orchestrator: Orchestrator) -> ReadinessReport:
    workers = {arm.arm_id: 0 for arm in ARMS.values() if arm.has_workers}
    withheld: dict[str, str] = {}
    faults = {
        "database": _fault(lambda: _count_workers(orchestrator, workers, withheld)),
        "redis": _fault(lambda: redis_client.try_write(orchestrator.redis)),
    }
    checks: dict[str, Any] = {
        **{server: "unhealthy" if fault else "healthy" for server, fault in faults.items()},
        "faults": {server: fault for server, fault in faults.items() if fault},
        "workers": workers,
        "withheld": withheld,
        "threads": {**current_hub().threads(), "audit": audit.buffer_of(current_app).health()},
    }
    idle = [ARMS[arm] for arm in workers if arm in ARMS and not workers[arm] and arm not in withheld]
    staffed = not any(arm.is_required for arm in idle)
    is_ready = checks["database"] == checks["redis"] == "healthy" and staffed
    warnings = _warnings(orchestrator.settings)
    if optional := [arm.arm_id for arm in idle if not arm.is_required]:
        warnings.append(f"no worker serves {', '.join(optional)}, without which the system is ready, too")
    return ReadinessReport(is_ready, checks, warnings, datetime.now(UTC))


def _warnings(settings: Settings) -> list[str]:
    """Return problems that do not keep tasks from running but should be fixed."""
    found = []
    if fault := permit.fault_of_keys(settings.permit_private_key, settings.permit_public_key, signs=False):
        found.append(f"{fault}; {permit.HOW_TO_MAKE_KEYS}")
    if metric.SHARING.directory is None:
        found.append("/metrics has this process' values only: see PROMETHEUS_MULTIPROC_DIR in .env.example")
    return found


def _count_workers(orchestrator: Orchestrator, workers: dict[str, int], withheld: dict[str, str]) -> None:
    """Count each arm's workers that accept work; for an arm without any, store why its other workers refuse it."""
    with statement(orchestrator.engine) as conn:
        pools.try_write(conn)
        alive = pools.alive(conn)
    for pool in alive:
        workers[pool.arm] = workers.get(pool.arm, 0) + (pool.unavailable is None)
    withheld |= {pool.arm: pool.unavailable for pool in alive if pool.unavailable and not workers[pool.arm]}


def _fault(ask: Callable[[], object]) -> str:
    """Return the fault of the server that `ask` queries, without secrets; an empty string if there is none."""
    try:
        ask()
    except redis.RedisError as error:
        fault = redis_client.fault_of(error)
    except Exception as error:
        if not is_away(error):
            raise
        fault = fault_of(error)
    else:
        return ""
    _log.warning("ready.server_unfit", fault=fault)
    return fault
