"""Finds out whether tasks can be done; asks the servers once a second at most, whoever asks us and how often."""

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
from orchestrator.auth import permit
from orchestrator.bootstrap import Orchestrator
from orchestrator.chord.database import fault_of, is_away, statement
from orchestrator.connections import redis_client
from orchestrator.memory import pools
from orchestrator.models.arm_capability import ARMS
from orchestrator.observability import metric
from orchestrator.settings import Settings

REMEMBER_SECONDS = 1.0
_NAME = "octollm_readiness"

_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Report:
    """What was found at `found_at`."""

    is_ready: bool
    checks: dict[str, Any]
    warnings: list[str]
    found_at: datetime


@dataclass
class Readiness:
    """One app's last report; threads share it."""

    orchestrator: Orchestrator
    _report: Report | None = None
    _found_at: float = float("-inf")
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def report(self) -> Report:
        """Return a report that is REMEMBER_SECONDS old at most; an older one while somebody else asks for a new one.

        Servers that are away answer slowly: callers must not all wait for them.
        """
        known = self._report
        if known and time.monotonic() - self._found_at < REMEMBER_SECONDS:
            return known
        if not self._lock.acquire(blocking=known is None):
            return cast(Report, known)
        try:
            if self._report is None or time.monotonic() - self._found_at >= REMEMBER_SECONDS:
                self._report = _look(self.orchestrator)
                self._found_at = time.monotonic()
            return self._report
        finally:
            self._lock.release()


def install(app: Flask) -> None:
    """Give the app its readiness."""
    app.extensions[_NAME] = Readiness(context.orchestrator_of(app))


def report() -> Report:
    """Return the report of the app that answers."""
    return cast(Readiness, current_app.extensions[_NAME]).report()


def _look(orchestrator: Orchestrator) -> Report:
    workers = dict.fromkeys(ARMS, 0)
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
        "threads": {**context.hub().threads(), "audit": audit.buffer_of(current_app).health()},
    }
    staffed = all(workers[arm] or arm in withheld for arm in ARMS)
    is_ready = checks["database"] == checks["redis"] == "healthy" and staffed
    return Report(is_ready, checks, _warnings(orchestrator.settings), datetime.now(UTC))


def _warnings(settings: Settings) -> list[str]:
    """Return what does not keep tasks from being done, and should not stay so."""
    found = []
    if fault := permit.fault_of_keys(settings.permit_private_key, settings.permit_public_key, signs=False):
        found.append(f"{fault}; {permit.HOW_TO_MAKE_KEYS}")
    if not metric.IS_SHARED:
        found.append("/metrics has this process' figures only: see PROMETHEUS_MULTIPROC_DIR in .env.example")
    return found


def _count_workers(orchestrator: Orchestrator, workers: dict[str, int], withheld: dict[str, str]) -> None:
    """Count the workers that take work; of an arm that has none of them, say why its others don't."""
    with statement(orchestrator.engine) as conn:
        pools.try_write(conn)
        living = pools.alive(conn)
    for pool in living:
        workers[pool.arm] = workers.get(pool.arm, 0) + (pool.unavailable is None)
    withheld |= {pool.arm: pool.unavailable for pool in living if pool.unavailable and not workers[pool.arm]}


def _fault(ask: Callable[[], object]) -> str:
    """Return what is wrong with a server, in words that may be shown to anybody; nothing when `ask` goes well."""
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
