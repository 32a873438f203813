"""Migrates a database to this release's schema; only one process at a time migrates."""

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
# any constant: the holder of this advisory lock migrates; others wait and then have nothing to do
_LOCK = 0x6F63746F
_LOCK_NOT_AVAILABLE = "55P03"
WAIT_SECONDS = 60.0
"""How long to wait for another migration, or for a table in use."""


def upgrade(
    database_url: str, *, revision: str = "head", wait_seconds: float = WAIT_SECONDS
) -> RowSecurityState | None:
    """Apply every missing revision up to `revision`, in one transaction; calling it twice is safe.

    At the head it also enables row-level security where an earlier migration could not, grants the roles of process
    kinds their rights, and returns the state of row-level security. The lock is the transaction's: a session's lock
    would remain in a pooler such as PgBouncer. Raises Unavailable naming the holder of a lock, and SettingsError for
    a database that does not store UTF-8.
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
        raise Unavailable(_describe_blocker(engine, wait_seconds)) from error
    finally:
        engine.dispose()


def make_logins(database_url: str) -> dict[str, str]:
    """Create a login for each kind of process on a server of our own; see orchestrator.memory.roles."""
    engine = create_engine(driver_url(database_url), isolation_level="AUTOCOMMIT", hide_parameters=True)
    try:
        with engine.connect() as conn:
            return roles.make_logins(conn, database_url)
    finally:
        engine.dispose()


@contextmanager
def _alone(engine: Engine, wait_seconds: float) -> Iterator[Connection]:
    """Open a transaction with the migrations' lock; each wait for a lock in it ends after `wait_seconds`."""
    with engine.begin() as conn:
        conn.exec_driver_sql(_SQL["wait"], {"milliseconds": str(round(wait_seconds * 1000))})
        conn.exec_driver_sql(_SQL["lock"], {"lock": _LOCK})
        yield conn


def _upgrade(conn: Connection, revision: str) -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    config.attributes["connection"] = conn
    command.upgrade(config, revision)


def _describe_blocker(engine: Engine, wait_seconds: float) -> str:
    """Describe what blocks a migration: another migration, or the oldest transaction on our tables."""
    with engine.begin() as conn:
        holders = conn.exec_driver_sql(_SQL["holders"], {"lock": _LOCK}).all()
    waited = f"waited {wait_seconds:g} s for a lock"
    if not holders:
        return f"{waited}; it is free now: run octollm migrate again"
    holder = holders[0]
    what = "another migration" if holder.migrates else "a transaction that uses our tables"
    return (
        f"{waited} held by {what}: process {holder.pid} of Postgres ({holder.application_name or 'unnamed'}, "
        f"{holder.state}, for {holder.seconds} s). Wait for its end and run octollm migrate again; an abandoned one "
        f"can be ended with SELECT pg_terminate_backend({holder.pid})"
    )
