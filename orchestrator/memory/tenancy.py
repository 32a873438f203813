"""Confines statements to one tenant's rows by row-level security, in addition to the tenant in every query."""

from collections.abc import Iterator
from contextlib import contextmanager

import structlog
from sqlalchemy import Connection, Engine

from orchestrator.chord import sql
from orchestrator.chord.database import statement
from orchestrator.chord.sql import PREFIX

_SQL = sql.load(__file__)
_CAN_CONFINE = "octollm_can_confine"

log = structlog.get_logger(__name__)


@contextmanager
def tenant_statement(engine: Engine, tenant: str) -> Iterator[Connection]:
    """Open a connection in autocommit mode whose statements see only the tenant's rows, without an extra round trip.

    Where the migration could not create the role (its database user may not), statements run unconfined: each of them
    names the tenant anyway. This is checked once a connection and logged as a warning.
    """
    with statement(engine) as conn:
        if _CAN_CONFINE not in conn.info:
            conn.info[_CAN_CONFINE] = bool(conn.exec_driver_sql(_SQL["can_confine"]).scalar_one())
            if not conn.info[_CAN_CONFINE]:
                log.warning("tenancy.not_enforced")
        if conn.info[_CAN_CONFINE]:
            prefix = (_SQL["confine"], {"octollm_tenant": tenant})
            conn = conn.execution_options(**{PREFIX: prefix})  # noqa: PLW2901
        yield conn
