"""Confines statements to one tenant's rows: the second line behind the tenant in every query."""

from typing import Any

import structlog
from sqlalchemy import Connection

from orchestrator.chord import sql

_SQL = sql.load(__file__)
_TENANT = "octollm_tenant"
_CAN_CONFINE = "octollm_can_confine"

log = structlog.get_logger(__name__)


def confined(conn: Connection, tenant: str) -> Connection:
    """Return the connection with each of its statements confined to the tenant's rows, without a round trip more.

    Where the migration could not make the role (its database user may not), statements stay as they are: the tenant
    stands in each of them anyway. That is asked once a connection, and told by a warning.
    """
    known = conn.info
    if _CAN_CONFINE not in known:
        known[_CAN_CONFINE] = bool(conn.exec_driver_sql(_SQL["can_confine"]).scalar_one())
        if not known[_CAN_CONFINE]:
            log.warning("tenancy.not_enforced")
    return conn.execution_options(**{_TENANT: tenant}) if known[_CAN_CONFINE] else conn


def confine(
    conn: Connection, _cursor: Any, statement: str, parameters: Any, _context: Any, _many: bool
) -> tuple[str, Any]:
    """Put the tenant before a confined connection's statement; an SQLAlchemy before_cursor_execute hook."""
    tenant = conn.get_execution_options().get(_TENANT)
    if tenant is None:
        return statement, parameters
    return f"{_SQL['confine']}\n{statement}", {**parameters, _TENANT: tenant}
