"""Opens the connections to Postgres and says how their transactions begin and end."""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, Engine, create_engine
from sqlalchemy.exc import DBAPIError

_DRIVER = "postgresql+psycopg2://"


def driver_url(url: str) -> str:
    """Return `url` with psycopg2 named: SQLAlchemy 2.1 reads a bare postgresql:// as psycopg 3."""
    for scheme in ("postgresql://", "postgres://"):
        if url.startswith(scheme):
            return _DRIVER + url.removeprefix(scheme)
    return url


def open_engine(url: str, *, pool_size: int = 8) -> Engine:
    """Return an engine with at most `pool_size` connections; one a process."""
    return create_engine(
        driver_url(url),
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=10,
        pool_use_lifo=True,
        connect_args={"connect_timeout": 5, "application_name": "octollm"},
    )


@contextmanager
def transaction(engine: Engine) -> Iterator[Connection]:
    """Open a transaction that commits at the end and rolls back on an error.

    A pooled connection that died (Postgres was restarted) is replaced before the first statement.
    """
    with _live_connection(engine) as conn, conn.begin():
        yield conn


@contextmanager
def statement(engine: Engine) -> Iterator[Connection]:
    """Open an AUTOCOMMIT connection: for work that is one statement, so one round trip."""
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as conn:
        yield conn


def _live_connection(engine: Engine) -> Connection:
    conn = engine.connect()
    try:
        conn.exec_driver_sql("SELECT 1")
        conn.rollback()
    except DBAPIError as error:
        conn.close()
        if not error.connection_invalidated:
            raise
        conn = engine.connect()
    return conn
