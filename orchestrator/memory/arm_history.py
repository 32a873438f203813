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
class ArmTotals:
    """An arm over the whole window; latencies are null if nothing ended.

    `cost_dollars` is what the tenant's own steps cost, None if part of it is not known.
    """

    arm: str
    oldest_queued_seconds: float | None
    attempts: int
    successes: int
    p50_ms: float | None
    p95_ms: float | None
    cost_dollars: Decimal | None


@dataclass(frozen=True)
class ArmHistory:
    """An arm's last minutes, oldest first; `complete_since`: earlier minutes lack rows, None: they are complete."""

    totals: ArmTotals
    complete_since: datetime | None = None
    minutes: list[ArmMinute] = field(default_factory=list)


def read(conn: Connection, arms: Sequence[str], *, tenant: str, minutes: int) -> dict[str, ArmHistory]:
    """Return the history of each arm: of all tenants' steps, but only the cost of `tenant`'s.

    `minutes` counts the current one. `conn` must see all tenants.
    """
    values = {"arms": list(arms), "tenant": tenant, "minutes": minutes, "limit": MAX_ENDED}
    totals = [ArmTotals(**row) for row in conn.exec_driver_sql(_SQL["totals"], values).mappings()]
    rows = conn.exec_driver_sql(_SQL["window"], values).mappings().all()
    since = {row["arm"]: row["complete_since"] for row in rows}
    found = {one.arm: ArmHistory(one, since.get(one.arm)) for one in totals}
    for row in rows:
        shown = {name: value for name, value in row.items() if name not in ("arm", "complete_since")}
        found[row["arm"]].minutes.append(ArmMinute(**shown))
    return found
