"""Owns the deliveries of webhooks: what is to be told to whom, when, and what came of it."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection

from orchestrator.chord import sql

_SQL = sql.load(__file__)


class DeliveryLease(NamedTuple):
    """The right to try a delivery once: `attempt` fences it against later tickets."""

    task_id: str
    seq: int
    attempt: int


@dataclass(frozen=True)
class Delivery:
    """What to tell: the task's last event, and what came of the task."""

    task_id: str
    seq: int
    attempt: int
    failures: int
    tenant: str
    url: str
    type: str
    occurred_at: datetime
    payload: dict[str, Any]
    status: str
    result: dict[str, Any] | None
    error: dict[str, Any] | None

    @property
    def ticket(self) -> DeliveryLease:
        """Return the right by which this is tried."""
        return DeliveryLease(self.task_id, self.seq, self.attempt)


def enqueue(conn: Connection, task_id: str) -> None:
    """Have the task's last event told; the caller holds the task's lock and has just written the event."""
    conn.exec_driver_sql(_SQL["enqueue"], {"task_id": task_id})


def take_due(conn: Connection, *, lease_seconds: float, limit: int) -> list[DeliveryLease]:
    """Return tickets for what is due, which is due again after `lease_seconds`."""
    values = {"lease_seconds": lease_seconds, "limit": limit}
    return [DeliveryLease(*row) for row in conn.exec_driver_sql(_SQL["take_due"], values)]


def read(conn: Connection, ticket: DeliveryLease) -> Delivery | None:
    """Return what the ticket is for; None when it is done, or another ticket was given out since."""
    row = conn.exec_driver_sql(_SQL["read"], ticket._asdict()).one_or_none()
    return Delivery(*row) if row else None


def record(
    conn: Connection,
    ticket: DeliveryLease,
    *,
    state: str,
    reason: str | None = None,
    http_status: int | None = None,
    delay_seconds: float | None = None,
) -> bool:
    """Write what came of an attempt, also into the trace: delivered, failed, or pending again after a delay.

    False, and nothing is written, if another ticket was given out since.
    """
    values = {
        **ticket._asdict(),
        "state": state,
        "reason": reason,
        "http_status": http_status,
        "delay_seconds": delay_seconds,
    }
    return conn.exec_driver_sql(_SQL["record"], values).rowcount == 1
