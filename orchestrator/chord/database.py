"""The one database layer: opens connections to Postgres, runs transactions on them and recognises its errors.

All connections are in autocommit mode and begin transactions by a BEGIN statement: switching a connection's mode to and
fro costs as much as a statement (120 of 270 us measured), and more where threads wait for the interpreter.
"""

import os
import random
import select
import time
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Final, TypeVar

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import (
    DBAPIError,
    InterfaceError,
    InvalidatePoolError,
    OperationalError,
    SQLAlchemyError,
)
from sqlalchemy.exc import TimeoutError as PoolTimeout

from orchestrator.chord import chord
from orchestrator.chord.sql import lacks_statement, prefixed
from orchestrator.connections.server_url import driver_url

T = TypeVar("T")

RECONNECT_SECONDS: Final = 5.0
"""How long a result backend's transaction waits for a server that restarts before its first statement."""

_RACES: Final = 5
_AWAY_PAUSE_SECONDS: Final = 0.25
_READ_ONLY: Final = "25006"
_LOST_RACES: Final = frozenset({"40001", "40P01"})
_CONNECT_ARGS: Final[Mapping[str, Any]] = {
    "connect_timeout": 5,
    "keepalives_idle": 30,
    "keepalives_interval": 5,
    "keepalives_count": 3,
}
_BACKEND_OPTIONS: Final[Mapping[str, Any]] = {
    "pool_size": 8,
    "max_overflow": 8,
    "connect_args": _CONNECT_ARGS,
}


def open_engine(url: str, *, pool_size: int = 8) -> Engine:
    """Return an engine with at most `pool_size` connections; threads share it, one a process is enough.

    A forked child starts with an empty pool. Raises ValueError for a URL that is not of Postgres.
    """
    return _open(
        url,
        {
            "pool_size": pool_size,
            "max_overflow": 0,
            "pool_timeout": 10,
            "connect_args": {**_CONNECT_ARGS, "application_name": "octollm"},
        },
    )


@contextmanager
def statement(engine: Engine) -> Iterator[Connection]:
    """Open a connection in autocommit mode, for work that is one statement: one round trip."""
    with engine.connect() as conn:
        yield conn


@contextmanager
def transaction(engine: Engine) -> Iterator[Connection]:
    """Open a transaction that commits at the end and rolls back on an error."""
    with engine.connect() as conn, _begun(conn):
        yield conn


def in_transaction(engine: Engine, work: Callable[[Connection], T]) -> T:
    """Run `work` in a transaction; repeat it, at most five times in all, if Postgres broke a deadlock.

    `work` must not act outside the database: it may run more than once.
    """
    return _retry_lost_races(lambda: transaction(engine), work)


def outlast(work: Callable[[], T], *, until: float) -> T:
    """Repeat `work` while Postgres is away; from `until` (time.monotonic) on, raise its error."""
    while True:
        try:
            return work()
        except SQLAlchemyError as error:
            if not is_away(error) or time.monotonic() >= until:
                raise
        time.sleep(_AWAY_PAUSE_SECONDS)


class Database:
    """The connections of a result backend, with the chord engine's tables, which it makes at first use."""

    def __init__(self, url: str, *, options: Mapping[str, Any] | None = None) -> None:
        self.engine: Engine = _open(url, {**_BACKEND_OPTIONS, **(options or {})})
        self._is_prepared = False

    def dispose(self) -> None:
        """Close the connections; the next use opens new ones."""
        self.engine.dispose()

    def run(self, work: Callable[[Connection], T]) -> T:
        """Run `work` with a connection in autocommit mode: each statement is its own transaction."""
        self._prepare()
        with statement(self.engine) as conn:
            return work(conn)

    def transact(self, work: Callable[[Connection], T]) -> T:
        """Run `work` in a transaction; repeat it, at most five times in all, if Postgres broke a deadlock."""
        return _retry_lost_races(self.transaction, work)

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """Open a transaction, waiting `RECONNECT_SECONDS` for a server that is away; commit at the end."""
        self._prepare()
        with self._connected() as conn, _begun(conn):
            yield conn

    def _connected(self) -> Connection:
        until = time.monotonic() + RECONNECT_SECONDS
        pause = 0.05
        while True:
            try:
                return self.engine.connect()
            except OperationalError:
                if time.monotonic() + pause > until:
                    raise
                time.sleep(pause)
                pause = min(pause * 2, 0.5)

    def _prepare(self) -> None:
        if not self._is_prepared:
            with self._connected() as conn, _begun(conn):
                chord.prepare(conn)
            self._is_prepared = True


def is_away(error: Exception) -> bool:
    """Return whether no connection to a Postgres that takes writes could be had, or it was lost."""
    if isinstance(error, DBAPIError) and error.connection_invalidated:
        return True
    return isinstance(error, OperationalError | InterfaceError | PoolTimeout)


def lost_race(error: Exception) -> bool:
    """Return whether the transaction was the victim of a deadlock or of serialization."""
    return isinstance(error, DBAPIError) and getattr(error.orig, "pgcode", None) in _LOST_RACES


def is_transient(error: Exception) -> bool:
    """Return whether the same work may succeed on another connection, or a moment later."""
    return is_away(error) or lost_race(error)


def fault_of(error: Exception) -> str:
    """Describe, for operators, why Postgres `is_away`; contains nothing of the server's own text."""
    code = str(getattr(getattr(error, "orig", None), "pgcode", None) or "")
    if code == _READ_ONLY:
        return "it is read-only: a standby, or set so"
    if code.startswith("53"):
        return "it is out of connections, memory or disk"
    if isinstance(error, PoolTimeout):
        return "all our connections to it are in use"
    return "it can't be reached"


def _retry_lost_races(
    opened: Callable[[], AbstractContextManager[Connection]], work: Callable[[Connection], T]
) -> T:
    for race in range(_RACES):
        try:
            with opened() as conn:
                return work(conn)
        except DBAPIError as error:
            if not (lost_race(error) or lacks_statement(error)) or race == _RACES - 1:
                raise
            time.sleep(random.uniform(0, 0.01 * 2**race))
    raise AssertionError("unreachable")


@contextmanager
def _begun(conn: Connection) -> Iterator[Connection]:
    """Run the block in a transaction; an error rolls it back."""
    conn.exec_driver_sql("BEGIN")
    try:
        yield conn
    except BaseException:
        _roll_back(conn)
        raise
    conn.exec_driver_sql("COMMIT")


def _roll_back(conn: Connection) -> None:
    """Roll back; a connection that can't is dropped, which has the same effect."""
    if not conn.invalidated:
        try:
            conn.exec_driver_sql("ROLLBACK")
        except DBAPIError:
            conn.invalidate()


def _open(url: str, options: Mapping[str, Any]) -> Engine:
    engine = create_engine(
        driver_url(url),
        **{
            "pool_use_lifo": True,
            # an error's text goes to the log: it must not carry what clients sent
            "hide_parameters": True,
            **options,
            "isolation_level": "AUTOCOMMIT",
        },
    )
    event.listen(engine, "checkout", _replace_dead)
    event.listen(engine, "handle_error", _leave_read_only)
    event.listen(engine, "before_cursor_execute", _prepend, retval=True)
    _empty_after_fork(engine)
    return engine


def _replace_dead(dbapi_connection: Any, _record: Any, _proxy: Any) -> None:
    """Replace a connection whose server has closed it, when it is taken from the pool.

    An idle connection has nothing to read, unless the server closed it. Polling costs a few microseconds, a ping would
    cost a round trip.
    """
    poller = select.poll()
    poller.register(dbapi_connection.fileno(), select.POLLIN)
    if poller.poll(0):
        raise InvalidatePoolError("the server closed this connection")


def _leave_read_only(context: ExceptionContext) -> None:
    """Treat a server that takes no writes (a standby after a failover) as lost: drop all connections to it.

    The next connection may reach the new primary, and code that waits for a lost server waits for this one too.
    """
    if getattr(context.original_exception, "pgcode", None) == _READ_ONLY:
        context.is_disconnect = True


def _prepend(
    conn: Connection, _cursor: Any, text: str, parameters: Any, _context: Any, _many: bool
) -> tuple[str, Any]:
    """Put a connection's PREFIX before its statement."""
    return prefixed(conn, text, parameters)


def _empty_after_fork(engine: Engine) -> None:
    known = weakref.ref(engine)

    def empty() -> None:
        inherited = known()
        if inherited is not None:
            # close=False: the sockets are the parent's, and closing them would end its sessions.
            inherited.dispose(close=False)

    os.register_at_fork(after_in_child=empty)
