"""Owns which worker pools live, how each arm does, and what was declared about it."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from orchestrator.chord.sql import load
from orchestrator.models.arm_capability import ARMS
from orchestrator.models.record import encode

ALIVE_WITHIN_SECONDS = 13
"""How old a pool's last beat may be: two of each 5 s may be lost, and with the gauges' own age (2 s) a dead pool is
still seen within 15 s."""
STATISTICS_DAYS = 7

_SQL = load(__file__)


@dataclass(frozen=True, kw_only=True)
class PoolReport:
    """One heartbeat of a worker process that serves one arm's queue; `busy` of its `concurrency` slots work.

    `isolation` is the sandbox of its arm's tools. `unavailable` is the reason when the process runs but takes no work.
    """

    node: str
    queue: str
    arm: str
    concurrency: int
    busy: int
    isolation: str
    version: str
    registry_digest: str
    unavailable: str | None = None


@dataclass(frozen=True, kw_only=True)
class Pool(PoolReport):
    """A worker process by its last heartbeat."""

    started_at: datetime
    seen_at: datetime


@dataclass(frozen=True)
class ArmStatistics:
    """An arm now (workers, busy, concurrency, queued) and lately (attempts, successes, latency)."""

    arm: str
    workers: int
    busy: int
    concurrency: int
    queued: int
    attempts: int
    successes: int
    average_latency_ms: float | None
    declared_status: str | None
    declared_metadata: dict[str, Any]
    declared_at: datetime | None


def record_heartbeat(conn: Connection, report: PoolReport) -> None:
    """Record that a worker process is alive; it counts as alive for ALIVE_WITHIN_SECONDS."""
    conn.exec_driver_sql(_SQL["record_heartbeat"], asdict(report))


def leave(conn: Connection, node: str) -> None:
    """Say that a worker process has stopped; safe to call twice."""
    conn.exec_driver_sql(_SQL["leave"], {"node": node})


def alive(conn: Connection, *, within_seconds: float = ALIVE_WITHIN_SECONDS) -> list[Pool]:
    """Return the worker processes that beat lately, by arm and node."""
    rows = conn.exec_driver_sql(_SQL["alive"], {"within_seconds": within_seconds}).mappings()
    return [Pool(**row) for row in rows]


def try_write(conn: Connection) -> None:
    """Write next to nothing; raises what Postgres says when it takes no writes. It may be called at any rate."""
    conn.exec_driver_sql(_SQL["try_write"])


def forget_dead(conn: Connection, *, after_seconds: float = 3600) -> int:
    """Drop the rows of processes that died without leaving; return how many."""
    return conn.exec_driver_sql(_SQL["forget_dead"], {"after_seconds": after_seconds}).rowcount


def arm_statistics(
    conn: Connection, *, tenant: str | None = None, within_seconds: float = ALIVE_WITHIN_SECONDS
) -> dict[str, ArmStatistics]:
    """Return each arm's statistics by arm id, with what this tenant declared.

    History is an arm's last 1,000 ended steps of STATISTICS_DAYS, of all tenants.
    """
    values = {
        "arms": list(ARMS),
        "tenant": tenant,
        "within_seconds": within_seconds,
        "days": STATISTICS_DAYS,
    }
    rows = conn.exec_driver_sql(_SQL["arm_statistics"], values).mappings()
    return {row["arm"]: ArmStatistics(**row) for row in rows}


def declare(
    conn: Connection, tenant: str, arm: str, *, status: str, metadata: Mapping[str, Any], declared_by: str
) -> None:
    """Replace what a tenant declared about an arm; `status` is healthy, degraded or unavailable."""
    values = {
        "tenant": tenant,
        "arm": arm,
        "status": status,
        "metadata": encode(metadata),
        "declared_by": declared_by,
    }
    conn.exec_driver_sql(_SQL["declare"], values)
