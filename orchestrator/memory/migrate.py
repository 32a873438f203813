"""Brings a database to this release's schema: one process at a time, any number of times."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, Engine, create_engine
from sqlalchemy.exc import DBAPIError

import migrations
from orchestrator.chord import sql
from orchestrator.connections.server_url import driver_url
from orchestrator.memory import roles, row_security
from orchestrator.memory.encoding import refuse_encoding
from orchestrator.memory.row_security import RowSecurityState
from orchestrator.models.errors import Unavailable

_SQL = sql.load(__file__)
# any constant: whoever holds this advisory lock migrates, the others wait and then find nothing to do
_LOCK = 0x6F63746F
_LOCK_NOT_AVAILABLE = "55P03"
WAIT_SECONDS = 60.0
"""How long to wait for another migration, or for a table that somebody uses."""


def upgrade(
    database_url: str, *, revision: str = "head", wait_seconds: float = WAIT_SECONDS
) -> RowSecurityState | None:
    """Apply every revision up to `revision` that is missing, in one transaction; calling it twice is safe.

    At the head it also puts row-level security in place where it could not be before, and returns how it stands; and it
    gives the roles of kinds of processes their rights.
    The lock ends with the transaction: a session's lock would stay behind in a pooler such as PgBouncer. Raises
    Unavailable naming who holds a lock, and SettingsError for a database that can't hold every text.
    """
    engine = create_engine(driver_url(database_url), connect_args={"application_name": "octollm migrate"})
    try:
        with _alone(engine, wait_seconds) as conn:
            refuse_encoding(conn)
            _upgrade(conn, revision)
        if revision != "head":
            return None
        with _alone(engine, wait_seconds) as conn:
            standing = row_security.complete(conn)
            roles.complete(conn)
            return standing
    except DBAPIError as error:
        if getattr(error.orig, "pgcode", None) != _LOCK_NOT_AVAILABLE:
            raise
        raise Unavailable(_told(engine, wait_seconds)) from error
    finally:
        engine.dispose()


def make_logins(database_url: str) -> dict[str, str]:
    """Make a login for each kind of process on a server of our own; see orchestrator.memory.roles."""
    engine = create_engine(driver_url(database_url), isolation_level="AUTOCOMMIT", hide_parameters=True)
    try:
        with engine.connect() as conn:
            return roles.make_logins(conn, database_url)
    finally:
        engine.dispose()


@contextmanager
def _alone(engine: Engine, wait_seconds: float) -> Iterator[Connection]:
    """Open a transaction that no other migration runs beside, and that waits so long for each lock."""
    with engine.begin() as conn:
        conn.exec_driver_sql(_SQL["wait"], {"milliseconds": str(round(wait_seconds * 1000))})
        conn.exec_driver_sql(_SQL["lock"], {"lock": _LOCK})
        yield conn


def _upgrade(conn: Connection, revision: str) -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    config.attributes["connection"] = conn
    command.upgrade(config, revision)


def _told(engine: Engine, wait_seconds: float) -> str:
    """Say who stands in the way of a migration: another one, or the oldest transaction."""
    with engine.begin() as conn:
        holders = conn.exec_driver_sql(_SQL["holders"], {"lock": _LOCK}).all()
    waited = f"waited {wait_seconds:g} s for a lock"
    if not holders:
        return f"{waited} that is free now: run octollm migrate again"
    holder = holders[0]
    what = "another migration" if holder.migrates else "a transaction that uses our tables"
    return (
        f"{waited} of {what}: process {holder.pid} of Postgres ({holder.application_name or 'unnamed'}, "
        f"{holder.state}, for {holder.seconds} s). Wait for its end and run octollm migrate again; one that was left "
        f"behind is ended by SELECT pg_terminate_backend({holder.pid})"
    )
