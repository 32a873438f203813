"""Brings a database to this release's schema: one process at a time, any number of times."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import create_engine

import migrations
from orchestrator.server_url import driver_url
from orchestrator.store import roles, row_security
from orchestrator.store.row_security import Standing

# any constant: whoever holds this advisory lock migrates, the others wait and then find nothing to do
_LOCK = 0x6F63746F


def upgrade(database_url: str, *, revision: str = "head") -> Standing | None:
    """Apply every revision up to `revision` that is missing. Takes an advisory lock; calling it twice is safe.

    At the head it also puts row-level security in place where it could not be before, and returns how it stands; and it
    gives the roles of kinds of processes their rights.
    """
    engine = create_engine(driver_url(database_url))
    try:
        with engine.connect() as conn:
            conn.exec_driver_sql("SELECT pg_advisory_lock(%(lock)s)", {"lock": _LOCK})
            try:
                config = Config()
                config.set_main_option("script_location", str(Path(migrations.__file__).parent))
                config.attributes["connection"] = conn
                command.upgrade(config, revision)
                conn.commit()
                if revision != "head":
                    return None
                standing = row_security.complete(conn)
                roles.complete(conn)
                conn.commit()
                return standing
            finally:
                conn.rollback()
                conn.exec_driver_sql("SELECT pg_advisory_unlock(%(lock)s)", {"lock": _LOCK})
                conn.commit()
    finally:
        engine.dispose()


def make_logins(database_url: str) -> dict[str, str]:
    """Make a login for each kind of process on a server of our own; see orchestrator.store.roles."""
    engine = create_engine(driver_url(database_url), isolation_level="AUTOCOMMIT", hide_parameters=True)
    try:
        with engine.connect() as conn:
            return roles.make_logins(conn, database_url)
    finally:
        engine.dispose()
