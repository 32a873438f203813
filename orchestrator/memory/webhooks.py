"""Reads and writes webhook deliveries: what to send, where, when, and with what outcome."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection

from orchestrator.chord import sql

_SQL = sql.load(__file__)


class DeliveryLease(NamedTuple):
    """The right to try a delivery once; `attempt` is the fencing number."""

    task_id: str
    seq: int
    attempt: int


@dataclass(frozen=True)
class Delivery:
    """What to send: the task's last event, and the task's status, result and error."""

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


def enqueue(conn: Connection, task_id: str) -> None:
    """Queue the delivery of the task's last event; the caller holds the task's lock and has just written the event."""
    conn.exec_driver_sql(_SQL["enqueue"], {"task_id": task_id})


def take_due(conn: Connection, *, lease_seconds: float, limit: int) -> list[DeliveryLease]:
    """Take due deliveries; each is due again after `lease_seconds`."""
    values = {"lease_seconds": lease_seconds, "limit": limit}
    return [DeliveryLease(*row) for row in conn.exec_driver_sql(_SQL["take_due"], values)]


def read(conn: Connection, lease: DeliveryLease) -> Delivery | None:
    """Return the delivery of a lease; None if it is done or was leased again."""
    row = conn.exec_driver_sql(_SQL["read"], lease._asdict()).one_or_none()
    return Delivery(*row) if row else None


def record(
    conn: Connection,
    lease: DeliveryLease,
    *,
    state: str,
    reason: str | None = None,
    http_status: int | None = None,
    delay_seconds: float | None = None,
) -> bool:
    """Write an attempt's outcome, also into the trace: delivered, failed, or pending again after a delay.

    Returns False and writes nothing if the delivery was leased again.
    """
    values = {
        **lease._asdict(),
        "state": state,
        "reason": reason,
        "http_status": http_status,
        "delay_seconds": delay_seconds,
    }
    return conn.exec_driver_sql(_SQL["record"], values).rowcount == 1
