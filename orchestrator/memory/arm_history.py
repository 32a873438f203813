"""Reads what the arms did in the last minutes, from the rows of steps: nothing is lost by a restart."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal

from sqlalchemy import Connection

from orchestrator.chord import sql

MAX_ENDED = 5_000
"""So many of an arm's ended rows are read at most, the latest."""
_SQL = sql.load(__file__)


@dataclass(frozen=True)
class ArmMinute:
    """One minute of an arm; `queued` and `busy` are averages over the minute, latencies are null if nothing ended."""

    at: datetime
    finished: int
    failed: int
    p50_ms: float | None
    p95_ms: float | None
    queued: float
    busy: float


@dataclass(frozen=True)
class ArmHistory:
    """An arm's last minutes, oldest first, and what they come to; latencies are null if nothing ended.

    `complete_since`: earlier minutes lack rows, None: they are complete. `cost_dollars` is what the tenant's own steps
    cost, None if part of it is not known.
    """

    attempts: int
    successes: int
    p50_ms: float | None
    p95_ms: float | None
    oldest_queued_seconds: float | None
    cost_dollars: Decimal | None
    complete_since: datetime | None
    minutes: list[ArmMinute] = field(default_factory=list)


def read(conn: Connection, arms: Sequence[str], *, tenant: str, minutes: int) -> dict[str, ArmHistory]:
    """Return the history of each arm: of all tenants' steps, but only the cost of `tenant`'s.

    `minutes` counts the current one. `conn` must see all tenants.
    """
    values = {"arms": list(arms), "tenant": tenant, "minutes": minutes, "limit": MAX_ENDED}
    found: dict[str, ArmHistory] = {}
    for row in conn.exec_driver_sql(_SQL["window"], values):
        if row.arm not in found:
            found[row.arm] = ArmHistory(
                attempts=row.attempts,
                successes=row.successes,
                p50_ms=row.whole_p50_ms,
                p95_ms=row.whole_p95_ms,
                oldest_queued_seconds=row.oldest_queued_seconds,
                cost_dollars=row.cost_dollars,
                complete_since=row.complete_since,
            )
        minute = ArmMinute(row.at, row.finished, row.failed, row.p50_ms, row.p95_ms, row.queued, row.busy)
        found[row.arm].minutes.append(minute)
    return found
