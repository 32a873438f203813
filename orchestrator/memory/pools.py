"""Records the heartbeats of worker pools, and reads each arm's statistics and declarations."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from orchestrator.chord.sql import load
from orchestrator.models.arm_capability import ARMS, ArmCapability
from orchestrator.models.record import encode

ALIVE_WITHIN_SECONDS = 13
"""How old a live pool's last heartbeat may be. With a beat every 5 s two may be lost, and with the gauges' own age
(2 s) a dead pool is still noticed within 15 s."""
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
    """An arm's current state (workers, busy, concurrency, queued) and recent history (attempts, successes, latency).

    `outage` says why the arm takes no steps though its pool is alive, None: it does. Registered arms share one pool.
    """

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
    outage: str | None = None


def record_heartbeat(conn: Connection, *reports: PoolReport) -> None:
    """Record that a worker process is alive, in one statement; it counts as alive for ALIVE_WITHIN_SECONDS."""
    conn.exec_driver_sql(_SQL["record_heartbeat"], {"reports": encode([asdict(one) for one in reports])})


def leave(conn: Connection, *nodes: str) -> None:
    """Delete the rows of a worker process that stops; calling it twice is safe."""
    conn.exec_driver_sql(_SQL["leave"], {"nodes": list(nodes)})


def alive(conn: Connection, *, within_seconds: float = ALIVE_WITHIN_SECONDS) -> list[Pool]:
    """Return the worker processes with a recent heartbeat, ordered by arm and node."""
    rows = conn.exec_driver_sql(_SQL["alive"], {"within_seconds": within_seconds}).mappings()
    return [Pool(**row) for row in rows]


def try_write(conn: Connection) -> None:
    """Check that Postgres takes writes; raises its error if not. It writes nothing, so it may be called at any rate."""
    conn.exec_driver_sql(_SQL["try_write"])


def forget_dead(conn: Connection, *, after_seconds: float = 3600) -> int:
    """Delete the rows of processes that died; return how many."""
    return conn.exec_driver_sql(_SQL["forget_dead"], {"after_seconds": after_seconds}).rowcount


def arm_statistics(
    conn: Connection,
    *,
    arms: Iterable[ArmCapability] | None = None,
    tenant: str | None = None,
    within_seconds: float = ALIVE_WITHIN_SECONDS,
) -> dict[str, ArmStatistics]:
    """Return the statistics of `arms` (default: those of the manifests) by arm id, with this tenant's declarations.

    The history is of all tenants: an arm's last 1,000 ended steps within STATISTICS_DAYS.
    """
    wanted = list(ARMS.values() if arms is None else arms)
    values = {
        "arms": [arm.arm_id for arm in wanted],
        "queues": [arm.queue for arm in wanted],
        "tenant": tenant,
        "within_seconds": within_seconds,
        "days": STATISTICS_DAYS,
    }
    rows = conn.exec_driver_sql(_SQL["arm_statistics"], values).mappings()
    return {row["arm"]: ArmStatistics(**row) for row in rows}


def declare(
    conn: Connection, tenant: str, arm: str, *, status: str, metadata: Mapping[str, Any], declared_by: str
) -> None:
    """Replace a tenant's declaration about an arm; `status` is healthy, degraded or unavailable."""
    values = {
        "tenant": tenant,
        "arm": arm,
        "status": status,
        "metadata": encode(metadata),
        "declared_by": declared_by,
    }
    conn.exec_driver_sql(_SQL["declare"], values)
