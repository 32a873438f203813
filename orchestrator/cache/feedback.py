"""Owns client reports of wrong hits, and the switch that turns a layer off for a tenant after two reports.

The table is named `cache_audits` because earlier releases also stored sampled audits in it; see
docs/decisions/0012-no-sampling-audits.md.
"""

from sqlalchemy import Connection

from orchestrator.chord import sql

_SQL = sql.load(__file__)

WINDOW_DAYS = 7
"""How long a report counts, and how long a layer stays off."""
MAX_REPORTS = 1
"""The number of reports within WINDOW_DAYS that a layer may have and stay on."""


def record_wrong_hit(conn: Connection, tenant: str, task_id: str, *, reason: str) -> str | None:
    """Record that a client calls a hit wrong and return its layer; None if no cached result answered the task."""
    values = {"tenant": tenant, "task_id": task_id, "reason": reason}
    layer: str | None = conn.exec_driver_sql(_SQL["record_wrong_hit"], values).scalar_one_or_none()
    return layer


def switch_off_if_reported_often(conn: Connection, tenant: str, layer: str) -> bool:
    """Switch a layer off for the tenant for WINDOW_DAYS if it has more than MAX_REPORTS reports; return whether."""
    values = {"tenant": tenant, "layer": layer, "days": WINDOW_DAYS, "max_reports": MAX_REPORTS}
    return conn.exec_driver_sql(_SQL["switch_off"], values).rowcount == 1
