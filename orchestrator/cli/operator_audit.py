"""Writes down in the audit log what an operator does on the command line, and shows what stands there."""

import getpass
import json
import os
import re
import socket
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any

import click
from sqlalchemy.exc import SQLAlchemyError

from orchestrator.chord.database import open_engine, statement
from orchestrator.memory import audit_log
from orchestrator.memory.audit_log import AuditEntry, AuditOutcome

# anything else that is given for one might be a whole key
_KEY_ID = re.compile(r"[0-9A-Za-z]{12}")
_SPAN = re.compile(r"(\d{1,6})([mhd])")
_UNITS = {"m": "minutes", "h": "hours", "d": "days"}


def entry_of(action: str, *, tenant: str | None, thing: str | None, is_done: bool = True) -> AuditEntry:
    """Return what an operator did: as whom of this machine, on which. `thing` is left out unless it is a key's id."""
    return AuditEntry(
        action=action,
        outcome=AuditOutcome.ALLOWED if is_done else AuditOutcome.FAILED,
        tenant=tenant,
        subject=f"operator:{_login()}",
        address=f"host:{socket.gethostname()}",
        object=thing if thing and _KEY_ID.fullmatch(thing) else None,
        reason=None if is_done else "not_found",
    )


def write_if_there_is_a_log(entry: AuditEntry, database_url: str | None) -> None:
    """Write an entry of a command that needs no database; say on stderr where that fails, and go on."""
    if database_url is None:
        return
    engine = open_engine(database_url, pool_size=1)
    try:
        with statement(engine) as conn:
            audit_log.append(conn, [entry])
    except SQLAlchemyError as error:
        click.echo(f"warning: not written to the audit log: {type(error).__name__}", err=True)
    finally:
        engine.dispose()


def since(_context: click.Context, _parameter: click.Parameter, text: str | None) -> datetime | None:
    """Read --since: 90m, 24h, 7d ago, or a moment as ISO 8601 (UTC unless it says otherwise)."""
    if text is None:
        return None
    if match := _SPAN.fullmatch(text):
        with suppress(OverflowError):
            return datetime.now(UTC) - timedelta(**{_UNITS[match[2]]: int(match[1])})
    with suppress(ValueError):
        moment = datetime.fromisoformat(text)
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    raise click.BadParameter("must be such as 90m, 24h, 7d, 2026-11-28 or 2026-11-28T10:00:00Z")


def as_json(entries: list[AuditEntry]) -> str:
    """Return entries as JSON, the newest first."""
    return json.dumps([_document(entry) for entry in entries], indent=2)


def as_line(entry: AuditEntry) -> str:
    """Return an entry as one line."""
    who = entry.subject or entry.tenant or (f"key {entry.key_id}?" if entry.key_id else "-")
    told = [
        f"{_moment(entry):%Y-%m-%dT%H:%M:%SZ}",
        f"{entry.outcome:<7}",
        f"{entry.action:<16}",
        entry.object or "-",
        who,
        entry.address or "-",
        entry.reason or "-",
        entry.request_id or "",
        f"{entry.times} times" if entry.times > 1 else "",
    ]
    return "  ".join(told).rstrip()


def _document(entry: AuditEntry) -> Mapping[str, Any]:
    document = {**asdict(entry), "occurred_at": _moment(entry).isoformat()}
    del document["noted_at"]
    return document


def _moment(entry: AuditEntry) -> datetime:
    """Return when it happened: now, for an entry that is not written yet."""
    return (entry.occurred_at or datetime.now(UTC)).astimezone(UTC)


def _login() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"
