"""Statements that Postgres plans once a connection: planning costs more than running them."""

from collections.abc import Mapping
from typing import Any, Final

from psycopg2.extensions import TRANSACTION_STATUS_IDLE
from sqlalchemy import Connection, CursorResult
from sqlalchemy.exc import DBAPIError

NOT_THERE: Final = frozenset({"26000", "42P05"})
"""SQLSTATEs of a pooler between us and Postgres that hands out another session than the one that prepared."""


class Prepared:
    """A statement with named, typed parameters; behind a pooler it runs unprepared."""

    def __init__(self, name: str, statement: str, types: Mapping[str, str]) -> None:
        self._name = name
        self._plain = statement
        numbered = statement
        for number, parameter in enumerate(types, 1):
            numbered = numbered.replace(f"%({parameter})s", f"${number}")
        self._prepare = f"PREPARE {name} ({', '.join(types.values())}) AS {numbered}"
        arguments = ", ".join(f"%({parameter})s" for parameter in types)
        self._execute = f"-- {name}\nEXECUTE {name} ({arguments})"

    def execute(self, conn: Connection, parameters: Mapping[str, Any]) -> CursorResult[Any]:
        """Run the statement, preparing it if this connection has not done so.

        Inside a transaction a session that lacks it raises an error with a SQLSTATE of NOT_THERE; on a fresh
        transaction the same call succeeds.
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
            if not lacks_statement(error):
                raise
            conn.info["behind_pooler"] = True
            if _is_in_transaction(conn):
                raise
            return conn.exec_driver_sql(self._plain, parameters)


def _is_in_transaction(conn: Connection) -> bool:
    """Ask the driver, which follows what the server said last; our BEGIN is a statement like any other."""
    driver: Any = conn.connection.dbapi_connection
    return bool(driver.get_transaction_status() != TRANSACTION_STATUS_IDLE)


def lacks_statement(error: Exception) -> bool:
    """Tell whether the session did not know a prepared statement."""
    return isinstance(error, DBAPIError) and getattr(error.orig, "pgcode", None) in NOT_THERE
