"""The operator's commands that work on the database or the signing key: migrate, keys, token, audit."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any

import click
from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from orchestrator import settings
from orchestrator.auth import credential
from orchestrator.chord.database import open_engine, transaction
from orchestrator.cli import operator_audit
from orchestrator.cli.operator_audit import entry_of, since, write_if_there_is_a_log
from orchestrator.cli.output import tell_env_file
from orchestrator.connections import server_url
from orchestrator.devserver import home
from orchestrator.memory import audit_log
from orchestrator.memory import keys as key_store
from orchestrator.memory import migrate as migration
from orchestrator.memory.audit_log import AuditOutcome
from orchestrator.memory.keys import KeyRecord
from orchestrator.models import signing_key
from orchestrator.models.errors import InvalidInput, NotFound, SettingsError, Unavailable
from orchestrator.settings_file import read_stack_file

_EXPIRES_DAYS = 90
_AS_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def _scopes(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


@click.command()
def migrate() -> None:
    """Bring the database at DATABASE_URL to this release's schema; calling it twice, or at once, is safe."""
    tell_env_file()
    with database_errors():
        standing = migration.upgrade(_database_url())
    click.echo("the database is at this release's schema")
    if standing and standing.fault:
        click.echo(f"warning: {standing.fault}\n  -> {standing.advice}", err=True)


@click.group()
def keys() -> None:
    """Create, rotate, revoke and list API keys; POST /v1/auth/token turns a key into a JWT. Signing keys too."""


@keys.command()
@click.option("--tenant", required=True, help="Whose key it is; a tenant sees its own tasks only.")
@click.option(
    "--scopes",
    default=",".join(credential.LEAST_SCOPES),
    show_default=True,
    help="all, or some of: " + ", ".join(credential.SCOPES),
)
@click.option("--name", default="", help="A word for people.")
@click.option(
    "--environment", default="live", show_default=True, help="Stands in the key: octo_<environment>_..."
)
@click.option(
    "--expires-days",
    type=click.IntRange(min=1, max=36_500),
    default=_EXPIRES_DAYS,
    show_default=True,
    help="Days for which it is good.",
)
@click.option("--no-expiry", is_flag=True, help="It is good until it is revoked.")
@_AS_JSON
def create(
    *,
    tenant: str,
    scopes: str,
    name: str,
    environment: str,
    expires_days: int,
    no_expiry: bool,
    as_json: bool,
) -> None:
    """Make a key and print it: this is the only time it can be seen."""
    expires_at = None if no_expiry else datetime.now(UTC) + timedelta(days=expires_days)
    with _database() as conn:
        record, text = key_store.create(
            conn,
            tenant=tenant,
            scopes=_scopes(scopes),
            name=name,
            environment=environment,
            expires_at=expires_at,
        )
        audit_log.append(conn, [entry_of("key.create", tenant=tenant, thing=record.id)])
    click.echo(json.dumps({"key": text, **_document(record)}, indent=2) if as_json else text)


@keys.command()
@click.argument("key_id")
@_AS_JSON
def revoke(key_id: str, as_json: bool) -> None:
    """Revoke the key with the id KEY_ID (as `keys list` shows it); its tokens are refused from now on."""
    with _database() as conn:
        found = key_store.revoke(conn, key_id)
        tenant = key_store.tenant_of(conn, key_id)
        audit_log.append(conn, [entry_of("key.revoke", tenant=tenant, thing=key_id, is_done=found)])
    if not found:
        raise NotFound(f"there is no key {key_id}: `octollm keys list` shows them")
    click.echo(json.dumps({"id": key_id, "revoked": True}) if as_json else f"{key_id} revoked")


@keys.command()
@click.argument("key_id")
@click.option(
    "--overlap-hours",
    type=click.IntRange(0, 24 * 90),
    default=24,
    show_default=True,
    help="Both keys are good for so long.",
)
@_AS_JSON
def rotate(key_id: str, overlap_hours: int, as_json: bool) -> None:
    """Make a successor of the key KEY_ID, with its tenant and scopes, and print it; the old one ends soon."""
    with _database() as conn:
        made = key_store.rotate(conn, key_id, overlap_seconds=overlap_hours * 3600)
        tenant = made[0].tenant if made else None
        audit_log.append(
            conn, [entry_of("key.rotate", tenant=tenant, thing=key_id, is_done=made is not None)]
        )
    if made is None:
        raise NotFound(f"there is no key {key_id} that holds: `octollm keys list` shows them")
    record, text = made
    click.echo(json.dumps({"key": text, **_document(record)}, indent=2) if as_json else text)


@keys.command(name="webhook-secret")
@click.option("--tenant", required=True, help="Whose webhooks it signs.")
def webhook_secret(tenant: str) -> None:
    """Print the secret that signs a tenant's webhooks, for a verifier of Standard Webhooks.

    It is derived from WEBHOOK_SECRET, or from JWT_SECRET if that is unset, and changes with it.
    """
    secret = credential.webhook_secret(settings.load(stack_environ()), tenant)
    write_if_there_is_a_log(entry_of("webhook.secret", tenant=tenant, thing=None), _known_database_url())
    click.echo(secret)


@keys.command(name="permits")
def permits() -> None:
    """Make the pair of keys for steps' permits and print it, for `eval` or for .env.

    Planners and judges need the private one, all workers and the API the public one.
    """
    private = signing_key.new_private_key()
    click.echo(
        f"export PERMIT_PRIVATE_KEY={private}\nexport PERMIT_PUBLIC_KEY={signing_key.public_key_of(private)}"
    )


@keys.command(name="tokens")
@click.option("--name", default="", help="The kid of its tokens.  [default: made from the key]")
def tokens(name: str) -> None:
    """Make the pair of keys for tokens and print it, for `eval` or for .env.

    The API and operators need the private one; the public one is for JWT_PUBLIC_KEYS, when the next one takes over.
    """
    private = signing_key.new_private_key()
    public = signing_key.public_key_of(private)
    named = f"{name or signing_key.key_id_of(public)}={public}"
    try:
        signing_key.parse_named_keys(named)
    except ValueError as error:
        raise InvalidInput.at("name", "must be 1 to 64 of A-Z a-z 0-9 . _ -") from error
    click.echo(f"export JWT_PRIVATE_KEY={private}\nexport JWT_PUBLIC_KEYS={named}")


@keys.command(name="list")
@click.option("--tenant", help="Only this tenant's.")
@_AS_JSON
def list_keys(tenant: str | None, as_json: bool) -> None:
    """List keys, newest first; never their secrets."""
    with _database() as conn:
        records = key_store.list_keys(conn, tenant=tenant)
    if as_json:
        click.echo(json.dumps([_document(record) for record in records], indent=2))
        return
    for record in records:
        scopes = "all" if record.scopes == credential.SCOPES else ",".join(record.scopes)
        click.echo(f"{record.id}  {record.tenant:<16} {_state(record):<24} {scopes}  {record.name}".rstrip())


@click.command()
@click.option("--tenant", required=True, help="On whose behalf its bearer acts.")
@click.option(
    "--scopes", default="all", show_default=True, help="all, or some of: " + ", ".join(credential.SCOPES)
)
@click.option(
    "--ttl", type=click.IntRange(1, 86_400), help="Seconds it is good for [default: JWT_TTL_SECONDS]."
)
def token(tenant: str, scopes: str, ttl: int | None) -> None:
    """Print a JWT, and nothing else on stdout; JWT_PRIVATE_KEY (or the one in $OCTOLLM_HOME/stack.env) signs it.

    It hangs on no API key, so it can't be revoked: keep it short.
    """
    known = settings.load_signing(stack_environ())
    granted = credential.expand_scopes(_scopes(scopes))
    write_if_there_is_a_log(entry_of("token.issue", tenant=tenant, thing=None), _known_database_url())
    click.echo(
        credential.sign_token(
            known,
            tenant=tenant,
            key_id="cli",
            scopes=granted,
            ttl=ttl or known.jwt_ttl_seconds,
        )
    )


@click.command()
@click.option("--tenant", help="Only what this tenant's callers did.")
@click.option("--action", help="Only this: task.submit, key.revoke, ..., or all that begin so: task, key.")
@click.option("--outcome", type=click.Choice([outcome.value for outcome in AuditOutcome]), help="Only these.")
@click.option("--since", callback=since, help="Only since then: 90m, 24h, 7d ago, or a date.")
@click.option(
    "--limit", type=click.IntRange(1, 100_000), default=100, show_default=True, help="At most so many."
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
    """List who did what, from where, and whether it was allowed, the newest first.

    A line: when, outcome, action, what it was done to, who, from which address, why not, the request's id.
    """
    with _database() as conn:
        found = audit_log.find(
            conn,
            tenant=tenant,
            action=action,
            outcome=AuditOutcome(outcome) if outcome else None,
            since=since,
            limit=limit,
        )
    if as_json:
        click.echo(operator_audit.as_json(found))
        return
    for entry in found:
        click.echo(operator_audit.as_line(entry))


@contextmanager
def _database() -> Iterator[Connection]:
    with database_errors():
        engine = open_engine(_database_url(), pool_size=1)
        try:
            with transaction(engine) as conn:
                yield conn
        finally:
            engine.dispose()


@contextmanager
def database_errors() -> Iterator[None]:
    """Raise Unavailable, with what the database says, for its errors."""
    try:
        yield
    except SQLAlchemyError as error:
        reason = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
        raise Unavailable(f"the database says: {reason} (`octollm doctor` tells more)") from error


def _database_url() -> str:
    """Return DATABASE_URL, or the running stack's; these commands need no other setting."""
    url = _known_database_url()
    if not url:
        raise SettingsError(f"set DATABASE_URL, or start `octollm up` first: {home.find().told}")
    try:
        return server_url.driver_url(url)
    except ValueError as error:
        raise SettingsError(f"DATABASE_URL is wrong: its value is not {error}") from error


def _known_database_url() -> str | None:
    return os.environ.get("DATABASE_URL") or read_stack_file(home.find().path).get("DATABASE_URL") or None


def stack_environ() -> dict[str, str]:
    """Return the environment with the running stack's home in it."""
    return {**os.environ, "OCTOLLM_HOME": str(home.find().path)}


def _state(record: KeyRecord) -> str:
    if record.revoked_at:
        return f"revoked {record.revoked_at:%Y-%m-%d}"
    if record.expires_at:
        word = "expired" if record.expires_at <= datetime.now(UTC) else "expires"
        return f"{word} {record.expires_at:%Y-%m-%d}"
    return "live"


def _document(record: KeyRecord) -> dict[str, Any]:
    return {
        name: value.isoformat() if isinstance(value, datetime) else value
        for name, value in asdict(record).items()
    }
