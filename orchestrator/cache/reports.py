"""Owns what clients report of wrong hits, and the switch that two reports throw.

The table's name, cache_audits, is from the time when hits were also sampled and run again; see
docs/decisions/0012-no-sampling-audits.md.
"""

from sqlalchemy import Connection

from orchestrator.chord import sql

_SQL = sql.load(__file__)

WINDOW_DAYS = 7
"""How long a report counts, and for how long a layer stays off."""
MAX_REPORTS = 1
"""How many reports a layer may have in WINDOW_DAYS and stay on."""


def report(conn: Connection, tenant: str, task_id: str, *, reason: str) -> str | None:
    """Note that a client calls the hit wrong and return its layer; None when the task was no hit."""
    values = {"tenant": tenant, "task_id": task_id, "reason": reason}
    layer: str | None = conn.exec_driver_sql(_SQL["report"], values).scalar_one_or_none()
    return layer


def switch_off_if_reported_often(conn: Connection, tenant: str, layer: str) -> bool:
    """Have a layer answer nothing for the tenant for WINDOW_DAYS when it has more reports than MOST_REPORTS.

    Tell whether it is off because of that.
    """
    values = {"tenant": tenant, "layer": layer, "days": WINDOW_DAYS, "most": MAX_REPORTS}
    return conn.exec_driver_sql(_SQL["switch_off"], values).rowcount == 1
