"""Loads named SQL statements from the `.sql` file beside a module, and prepares the hot ones once a connection."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final
from zlib import crc32

from psycopg2.extensions import TRANSACTION_STATUS_IDLE
from sqlalchemy import Connection, CursorResult
from sqlalchemy.exc import DBAPIError

_NAME = re.compile(r"^-- name: (\w+)[^\n]*$", re.MULTILINE)

PREFIX: Final = "octollm_prefix"
"""Execution option: (statement, parameters) that run before each statement of a connection, in the same trip."""

# SQLSTATEs seen behind a pooler that hands out another session than the one that prepared the statement
_NOT_PREPARED: Final = frozenset({"26000", "42P05"})


def load(module_file: str) -> dict[str, str]:
    """Return {name: statement} of the `.sql` file beside `module_file` (pass `__file__`).

    A statement starts at a line `-- name: some_name` and ends at the next one. Parameters are psycopg2's pyformat,
    `%(name)s`. Raises FileNotFoundError when there is no such file, ValueError when a name occurs twice.
    """
    text = Path(module_file).with_suffix(".sql").read_text(encoding="utf-8")
    parts = _NAME.split(text)[1:]
    names = parts[0::2]
    if len(set(names)) != len(names):
        raise ValueError(
            f"{module_file}: a statement's name occurs twice in its .sql file; rename one of {sorted(names)}"
        )
    return {
        name: f"-- {name}\n{_without_comments(body)}" for name, body in zip(names, parts[1::2], strict=True)
    }


class Prepared:
    """A statement with named, typed parameters that Postgres plans once a connection; planning costs more than running.

    Behind a pooler it runs unprepared.
    """

    def __init__(self, name: str, statement: str, types: Mapping[str, str]) -> None:
        # behind a pooler, another release may have prepared its own statement of this name in the session
        self._name = f"{name}_{crc32(statement.encode()):08x}"
        self._plain = statement
        numbered = statement
        for number, parameter in enumerate(types, 1):
            numbered = numbered.replace(f"%({parameter})s", f"${number}")
        self._prepare = f"PREPARE {self._name} ({', '.join(types.values())}) AS {numbered}"
        arguments = ", ".join(f"%({parameter})s" for parameter in types)
        self._execute = f"-- {name}\nEXECUTE {self._name} ({arguments})"

    def execute(self, conn: Connection, parameters: Mapping[str, Any]) -> CursorResult[Any]:
        """Run the statement, preparing it if this connection has not done so.

        Inside a transaction a session without it raises an error for which `lacks_statement` is true; the same call
        succeeds in a new transaction.
        """
        if conn.info.get("behind_pooler"):
            return conn.exec_driver_sql(self._plain, parameters)
        known: set[str] = conn.info.setdefault("prepared", set())
        try:
            if self._name not in known:
                conn.exec_driver_sql(self._prepare)
                known.add(self._name)
            return conn.exec_driver_sql(self._execute, parameters)
        except DBAPIError as error:
            _require_other_session(conn, error)
            return conn.exec_driver_sql(self._plain, parameters)

    def first(self, conn: Connection, parameters: Mapping[str, Any]) -> dict[str, Any] | None:
        """Run the statement as `execute` does, and return {column: value} of its first row; None without rows.

        It uses the driver's cursor: SQLAlchemy's work for a statement takes 0.2 ms, more than this call's own.
        """
        if self._name in conn.info.get("prepared", ()) and not conn.info.get("behind_pooler"):
            try:
                return _first(conn, *prefixed(conn, self._execute, parameters))
            except DBAPIError as error:
                _require_other_session(conn, error)
        row = self.execute(conn, parameters).mappings().first()
        return None if row is None else dict(row)


def prefixed(
    conn: Connection, statement: str, parameters: Mapping[str, Any]
) -> tuple[str, Mapping[str, Any]]:
    """Return a statement and its parameters with the connection's PREFIX before it, if it has one."""
    prefix = conn.get_execution_options().get(PREFIX)
    if prefix is None:
        return statement, parameters
    return f"{prefix[0]}\n{statement}", {**parameters, **prefix[1]}


def _first(conn: Connection, statement: str, parameters: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return a statement's first row; raises SQLAlchemy's errors, and drops a connection that is lost."""
    driver: Any = conn.connection.dbapi_connection
    with driver.cursor() as cursor:
        try:
            cursor.execute(statement, parameters)
            row = cursor.fetchone()
        except BaseException as error:
            # what SQLAlchemy itself calls for an error of its own cursors
            conn._handle_dbapi_exception(error, statement, dict(parameters), cursor, None)
        return (
            None
            if row is None
            else dict(zip((column.name for column in cursor.description), row, strict=True))
        )


def _require_other_session(conn: Connection, error: DBAPIError) -> None:
    """Note that a pooler hands out sessions; re-raise an error that means something else, or ended a transaction."""
    if not lacks_statement(error):
        raise error
    conn.info["behind_pooler"] = True
    if _is_in_transaction(conn):
        raise error


def lacks_statement(error: Exception) -> bool:
    """Return whether the session did not have a prepared statement."""
    return isinstance(error, DBAPIError) and getattr(error.orig, "pgcode", None) in _NOT_PREPARED


def _is_in_transaction(conn: Connection) -> bool:
    """Ask the driver, which tracks the server's transaction status; SQLAlchemy does not see our own BEGIN."""
    driver: Any = conn.connection.dbapi_connection
    return bool(driver.get_transaction_status() != TRANSACTION_STATUS_IDLE)


def _without_comments(body: str) -> str:
    """Drop comment lines: a `%` or a quote in prose must not reach the driver's formatting."""
    return "\n".join(line for line in body.strip().splitlines() if not line.lstrip().startswith("--"))
