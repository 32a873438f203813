"""Opens the connections to Postgres and says how their transactions begin and end."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from orchestrator.chord.database import READ_ONLY, begun, leave_read_only, lost_race, refuse_dead
from orchestrator.chord.prepared import lacks_statement
from orchestrator.connections.server_url import driver_url
from orchestrator.memory import tenancy

T = TypeVar("T")

_AWAY_PAUSE_SECONDS = 0.25


def open_engine(url: str, *, pool_size: int = 8) -> Engine:
    """Return an engine with at most `pool_size` connections, in autocommit mode; one a process."""
    engine = create_engine(
        driver_url(url),
        isolation_level="AUTOCOMMIT",
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=10,
        pool_use_lifo=True,
        # an error's text goes to the log: it must not carry what clients sent
        hide_parameters=True,
        connect_args={"connect_timeout": 5, "application_name": "octollm"},
    )
    event.listen(engine, "checkout", refuse_dead)
    event.listen(engine, "handle_error", leave_read_only)
    event.listen(engine, "before_cursor_execute", tenancy.confine, retval=True)
    return engine


@contextmanager
def transaction(engine: Engine) -> Iterator[Connection]:
    """Open a transaction that commits at the end and rolls back on an error."""
    with engine.connect() as conn, begun(conn):
        yield conn


@contextmanager
def statement(engine: Engine, *, tenant: str | None = None) -> Iterator[Connection]:
    """Open an AUTOCOMMIT connection: for work that is one statement, so one round trip.

    With `tenant` Postgres shows it that tenant's rows only; see orchestrator.memory.tenancy.
    """
    with engine.connect() as conn:
        yield conn if tenant is None else tenancy.confined(conn, tenant)


def in_transaction(engine: Engine, work: Callable[[Connection], T], *, tries: int = 5) -> T:
    """Run `work` in a transaction of its own; again, at most `tries` times, when Postgres broke a deadlock.

    `work` must not act outside the database: it may run more than once.
    """
    for left in range(tries - 1, -1, -1):
        try:
            with transaction(engine) as conn:
                return work(conn)
        except DBAPIError as error:
            if left == 0 or not (lost_race(error) or lacks_statement(error)):
                raise
    raise AssertionError("unreachable")


def outlast(work: Callable[[], T], *, until: float) -> T:
    """Do `work` again and again while Postgres is away; from `until` (time.monotonic) on raise what it raises."""
    while True:
        try:
            return work()
        except SQLAlchemyError as error:
            if not is_away(error) or time.monotonic() >= until:
                raise
        time.sleep(_AWAY_PAUSE_SECONDS)


def is_away(error: Exception) -> bool:
    """Tell whether the error means that Postgres, one that takes writes, or a free connection could not be had."""
    if isinstance(error, DBAPIError) and error.connection_invalidated:
        return True
    return isinstance(error, OperationalError | InterfaceError | PoolTimeout)


def fault_of(error: Exception) -> str:
    """Say what is wrong with a Postgres that `is_away`, for operators; nothing of its own words."""
    code = str(getattr(getattr(error, "orig", None), "pgcode", None) or "")
    if code == READ_ONLY:
        return "it is read-only: a standby, or set so"
    if code.startswith("53"):
        return "it is out of connections, memory or disk"
    if isinstance(error, PoolTimeout):
        return "all our connections to it are in use"
    return "it can't be reached"
