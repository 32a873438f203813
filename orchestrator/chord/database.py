"""The process's connections to Postgres: safe across forks and server restarts."""

import os
import random
import select
import time
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final, TypeVar

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import ExceptionContext, make_url
from sqlalchemy.exc import DBAPIError, InterfaceError, InvalidatePoolError, OperationalError

from orchestrator.chord import chord
from orchestrator.chord.prepared import lacks_statement

RECONNECT_SECONDS: Final = 5.0
"""How long a transaction waits for a server that restarts before its first statement."""

_OPTIONS: Final[Mapping[str, Any]] = {
    "pool_size": 8,
    "max_overflow": 8,
    "pool_use_lifo": True,
    # an error's text goes to the log: it must not carry what clients sent
    "hide_parameters": True,
    "connect_args": {
        "connect_timeout": 5,
        "keepalives_idle": 30,
        "keepalives_interval": 5,
        "keepalives_count": 3,
    },
}
T = TypeVar("T")

READ_ONLY: Final = "25006"
_LOST_RACES: Final = frozenset({"40001", "40P01"})
_RACES: Final = 5


class Database:
    """A pool in autocommit mode, opened at first use. Threads share it; a forked child starts with an empty one.

    Transactions begin and end by statements of their own: switching a connection's mode to and fro costs as much as
    a statement (120 of 270 us measured), and more where threads wait for the interpreter.
    """

    def __init__(self, url: str, *, options: Mapping[str, Any] | None = None) -> None:
        self.engine: Engine = _open(url, {**_OPTIONS, **(options or {}), "isolation_level": "AUTOCOMMIT"})
        self._is_prepared = False

    def dispose(self) -> None:
        """Close the connections; the next use opens new ones."""
        self.engine.dispose()

    def run(self, work: Callable[[Connection], T]) -> T:
        """Do `work` with a connection in autocommit mode: each statement is its own transaction."""
        self._prepare()
        with self.engine.connect() as conn:
            return work(conn)

    def transact(self, work: Callable[[Connection], T]) -> T:
        """Do `work` in one transaction; again on a fresh one when it lost a race (deadlock)."""
        for race in range(_RACES):
            try:
                with self.transaction() as conn:
                    return work(conn)
            except DBAPIError as error:
                if not (lost_race(error) or lacks_statement(error)) or race == _RACES - 1:
                    raise
                time.sleep(random.uniform(0, 0.01 * 2**race))
        raise AssertionError("unreachable")

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """Open a transaction, waiting `RECONNECT_SECONDS` for a server that is away; commit at the end."""
        self._prepare()
        with self._connected() as conn, begun(conn):
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
            with self._connected() as conn, begun(conn):
                chord.prepare(conn)
            self._is_prepared = True


@contextmanager
def begun(conn: Connection) -> Iterator[Connection]:
    """Run the block in a transaction on a connection in autocommit mode; an error rolls it back."""
    conn.exec_driver_sql("BEGIN")
    try:
        yield conn
    except BaseException:
        _roll_back(conn)
        raise
    conn.exec_driver_sql("COMMIT")


def _roll_back(conn: Connection) -> None:
    """Undo what was done; a connection that can't is dropped, which undoes it as well."""
    if not conn.invalidated:
        try:
            conn.exec_driver_sql("ROLLBACK")
        except DBAPIError:
            conn.invalidate()


def _open(url: str, options: Mapping[str, Any]) -> Engine:
    engine = create_engine(normalise(url), **options)
    event.listen(engine, "checkout", refuse_dead)
    event.listen(engine, "handle_error", leave_read_only)
    _forget_after_fork(engine)
    return engine


def normalise(url: str) -> str:
    """Name the driver: SQLAlchemy 2.1 reads a bare postgresql:// as psycopg 3."""
    parsed = make_url(url)
    if parsed.drivername in ("postgres", "postgresql"):
        parsed = parsed.set(drivername="postgresql+psycopg2")
    return parsed.render_as_string(hide_password=False)


def lost_race(error: Exception) -> bool:
    """Tell whether the transaction was the victim of a deadlock or of serialization."""
    return isinstance(error, DBAPIError) and getattr(error.orig, "pgcode", None) in _LOST_RACES


def is_transient(error: Exception) -> bool:
    """Tell whether the same work may succeed on another connection, or a moment later."""
    if isinstance(error, DBAPIError) and error.connection_invalidated:
        return True
    return isinstance(error, OperationalError | InterfaceError) or lost_race(error)


def refuse_dead(dbapi_connection: Any, record: Any, proxy: Any) -> None:
    """Replace a connection whose server has gone.

    An idle connection has nothing to read; when it has, that is the server's farewell. Looking costs a few
    microseconds where a ping costs a round trip.
    """
    poller = select.poll()
    poller.register(dbapi_connection.fileno(), select.POLLIN)
    if poller.poll(0):
        raise InvalidatePoolError("the server closed this connection")


def leave_read_only(context: ExceptionContext) -> None:
    """Count a server that takes no writes (a standby after a failover) as lost: drop all connections to it.

    The next one may reach the new primary, and whoever waits for a lost server waits for this one too.
    """
    if getattr(context.original_exception, "pgcode", None) == READ_ONLY:
        context.is_disconnect = True


def _forget_after_fork(engine: Engine) -> None:
    known = weakref.ref(engine)

    def forget() -> None:
        inherited = known()
        if inherited is not None:
            # close=False: the sockets are the parent's, and closing them would end its sessions.
            inherited.dispose(close=False)

    os.register_at_fork(after_in_child=forget)
