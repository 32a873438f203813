"""Checks that the database stores texts as UTF-8: others, such as LATIN1, fail at the first emoji."""

from sqlalchemy import Connection

from orchestrator.models.errors import SettingsError

NEEDED = "UTF8"
ADVICE = "CREATE DATABASE ... ENCODING 'UTF8' TEMPLATE template0, and name that one"


def encoding_of(conn: Connection) -> str:
    """Return the database's text encoding."""
    return str(conn.exec_driver_sql("SHOW server_encoding").scalar_one())


def refuse_encoding(conn: Connection) -> None:
    """Raise SettingsError unless the database stores texts as UTF-8."""
    encoding = encoding_of(conn)
    if encoding != NEEDED:
        raise SettingsError(
            f"DATABASE_URL is wrong: its database stores texts as {encoding} and can't store every character; {ADVICE}"
        )
