"""The database, the environment and the audit entries of operators' commands."""

import getpass
import os
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import click
from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from orchestrator import settings
from orchestrator.chord.database import open_engine, statement, transaction
from orchestrator.connections import server_url
from orchestrator.devserver import state_directory
from orchestrator.memory import audit_log
from orchestrator.memory.audit_log import AuditEntry, AuditOutcome
from orchestrator.models.errors import SettingsError, Unavailable
from orchestrator.settings_file import read_stack_file

# other text given as a key's id could be a whole key, which must not be logged
_KEY_ID = re.compile(r"[0-9A-Za-z]{12}")


@contextmanager
def database() -> Iterator[Connection]:
    """Open a transaction on the database; commit it at the end. Raises SettingsError, Unavailable."""
    with database_errors():
        engine = open_engine(database_url(), pool_size=1)
        try:
            with transaction(engine) as conn:
                yield conn
        finally:
            engine.dispose()


@contextmanager
def database_errors() -> Iterator[None]:
    """Raise Unavailable with the database's own message for errors of SQLAlchemy."""
    try:
        yield
    except SQLAlchemyError as error:
        reason = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
        raise Unavailable(f"the database reports: {reason} (`octollm doctor` says more)") from error


def database_url() -> str:
    """Return DATABASE_URL or the running stack's. Raises SettingsError."""
    url = find_database_url()
    if not url:
        raise SettingsError(f"set DATABASE_URL, or start `octollm up` first: {state_directory.find().origin}")
    try:
        return server_url.driver_url(url)
    except ValueError as error:
        raise SettingsError(f"DATABASE_URL is wrong: its value is not {error}") from error


def find_database_url() -> str | None:
    """Return DATABASE_URL or the running stack's; None without either. Raises SettingsError."""
    return (
        settings.read_files(os.environ).get("DATABASE_URL")
        or read_stack_file(state_directory.find().path).get("DATABASE_URL")
        or None
    )


def stack_environ() -> dict[str, str]:
    """Return the environment with OCTOLLM_HOME set to the running stack's state directory."""
    return {**os.environ, "OCTOLLM_HOME": str(state_directory.find().path)}


def entry_of(action: str, *, tenant: str | None, key_id: str | None, is_done: bool = True) -> AuditEntry:
    """Return an audit entry of this operator: login name and host. `key_id` is omitted unless it is well-formed."""
    return AuditEntry(
        action=action,
        outcome=AuditOutcome.ALLOWED if is_done else AuditOutcome.FAILED,
        tenant=tenant,
        subject=f"operator:{_login()}",
        address=f"host:{socket.gethostname()}",
        object=key_id if key_id and _KEY_ID.fullmatch(key_id) else None,
        reason=None if is_done else "not_found",
    )


def write_audit_entry(entry: AuditEntry) -> None:
    """Write an audit entry for a command that works without a database; a failure is only a warning."""
    url = find_database_url()
    if url is None:
        return
    engine = open_engine(url, pool_size=1)
    try:
        with statement(engine) as conn:
            audit_log.append(conn, [entry])
    except SQLAlchemyError as error:
        click.echo(f"warning: not written to the audit log: {type(error).__name__}", err=True)
    finally:
        engine.dispose()


def _login() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"
