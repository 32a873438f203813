"""Refuses a database that can't hold every text: in LATIN1 or SQL_ASCII all goes well until the first emoji."""

from sqlalchemy import Connection

from orchestrator.models.errors import SettingsError

NEEDED = "UTF8"
ADVICE = "CREATE DATABASE ... ENCODING 'UTF8' TEMPLATE template0, and name that one"


def encoding_of(conn: Connection) -> str:
    """Return the encoding of the database's texts."""
    return str(conn.exec_driver_sql("SHOW server_encoding").scalar_one())


def refuse_encoding(conn: Connection) -> None:
    """Raise SettingsError unless the database stores its texts in UTF-8."""
    encoding = encoding_of(conn)
    if encoding != NEEDED:
        raise SettingsError(
            f"DATABASE_URL is wrong: its database stores texts as {encoding} and can't hold all; {ADVICE}"
        )
