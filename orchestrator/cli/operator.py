"""Operators' commands on the database: `octollm migrate`, `octollm tenant` and `octollm audit`."""

import json
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any

import click

from orchestrator import settings
from orchestrator.chord.database import open_engine, statement
from orchestrator.cli.operator_session import database, database_errors, database_url, entry_of, stack_environ
from orchestrator.cli.output import print_env_file
from orchestrator.memory import audit_log
from orchestrator.memory import migrate as migration
from orchestrator.memory.audit_log import AuditEntry, AuditOutcome

_AS_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
_SPAN = re.compile(r"(\d{1,6})([mhd])")
_UNITS = {"m": "minutes", "h": "hours", "d": "days"}


@click.command()
def migrate() -> None:
    """Bring the database at DATABASE_URL to this release's schema; repeated and concurrent calls are safe."""
    print_env_file()
    with database_errors():
        standing = migration.upgrade(database_url())
    click.echo("the database is at this release's schema")
    if standing and standing.fault:
        click.echo(f"warning: {standing.fault}\n  -> {standing.advice}", err=True)


@click.group()
def tenant() -> None:
    """Delete a tenant."""


@tenant.command()
@click.argument("name", metavar="TENANT")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def delete(*, name: str, yes: bool, as_json: bool) -> None:
    """Revoke the keys of TENANT, cancel its tasks, and delete its tasks, files and cached results.

    This can't be undone. Run it again to delete what arrived meanwhile: a token stays valid for up to five seconds
    after its key was revoked, and tokens of an identity provider are not revoked. The audit log keeps its entries
    about the tenant for AUDIT_RETENTION_DAYS.
    """
    from orchestrator.cache.exact import ResultCache  # noqa: PLC0415 - only this command needs the cache
    from orchestrator.lifecycle.tenant_deletion import delete_tenant  # noqa: PLC0415

    if not yes:
        click.confirm(f"Delete the tenant {name!r} with all its tasks and files?", abort=True, err=True)
    loaded = settings.load(stack_environ())
    engine = open_engine(loaded.database_url, pool_size=1)
    try:
        with database_errors():
            # first, so that an interrupted deletion is in the log as well
            with statement(engine) as conn:
                audit_log.append(conn, [entry_of("tenant.delete", tenant=name, key_id=None)])
            deleted = delete_tenant(engine, name, forget_result=ResultCache(loaded).forget)
    finally:
        engine.dispose()
    if as_json:
        click.echo(json.dumps({"tenant": name, **asdict(deleted)}))
        return
    click.echo(
        f"{name}: {deleted.keys_revoked} keys revoked, {deleted.schedules_deleted} schedules deleted, "
        f"{deleted.tasks_cancelled} tasks cancelled, "
        f"{deleted.tasks_deleted} tasks and {deleted.files_deleted} files deleted, "
        f"{deleted.cache_entries_dropped} cached results dropped"
    )


def _parse_since(_context: click.Context, _parameter: click.Parameter, text: str | None) -> datetime | None:
    """Parse --since: a span before now (90m, 24h, 7d) or an ISO 8601 time, in UTC unless it has an offset."""
    if text is None:
        return None
    if match := _SPAN.fullmatch(text):
        with suppress(OverflowError):
            return datetime.now(UTC) - timedelta(**{_UNITS[match[2]]: int(match[1])})
    with suppress(ValueError):
        moment = datetime.fromisoformat(text)
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    raise click.BadParameter("must be such as 90m, 24h, 7d, 2026-11-28 or 2026-11-28T10:00:00Z")


@click.command()
@click.option("--tenant", help="Only entries of this tenant.")
@click.option(
    "--action", help="Only this action (task.submit, key.revoke, ...) or this group of actions (task, key)."
)
@click.option(
    "--outcome", type=click.Choice([outcome.value for outcome in AuditOutcome]), help="Only this outcome."
)
@click.option(
    "--since", callback=_parse_since, help="Only entries since 90m, 24h or 7d ago, or since a date."
)
@click.option(
    "--limit", type=click.IntRange(1, 100_000), default=100, show_default=True, help="List at most this many."
)
@_AS_JSON
def audit(
    *,
    tenant: str | None,
    action: str | None,
    outcome: str | None,
    since: datetime | None,
    limit: int,
    as_json: bool,
) -> None:
    """List audit entries, newest first: who did what, from where, and whether it was allowed.

    A line: time, outcome, action, object, subject, address, reason of a refusal, request id.
    """
    with database() as conn:
        found = audit_log.find(
            conn,
            tenant=tenant,
            action=action,
            outcome=AuditOutcome(outcome) if outcome else None,
            since=since,
            limit=limit,
        )
    if as_json:
        click.echo(_entries_as_json(found))
        return
    for entry in found:
        click.echo(_line_of(entry))


def _entries_as_json(entries: list[AuditEntry]) -> str:
    return json.dumps([_document(entry) for entry in entries], indent=2)


def _line_of(entry: AuditEntry) -> str:
    who = entry.subject or entry.tenant or (f"key {entry.key_id}?" if entry.key_id else "-")
    parts = [
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
    return "  ".join(parts).rstrip()


def _document(entry: AuditEntry) -> Mapping[str, Any]:
    document = {**asdict(entry), "occurred_at": _moment(entry).isoformat()}
    del document["noted_at"]
    return document


def _moment(entry: AuditEntry) -> datetime:
    """Return the time of an entry; now if it is not written yet."""
    return (entry.occurred_at or datetime.now(UTC)).astimezone(UTC)
