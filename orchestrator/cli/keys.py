"""`octollm keys` and `octollm token`: API keys, signing keys and JWTs."""

import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import click

from orchestrator import settings
from orchestrator.auth import credential
from orchestrator.cli.operator_session import database, entry_of, stack_environ, write_audit_entry
from orchestrator.memory import audit_log
from orchestrator.memory import keys as key_store
from orchestrator.memory.keys import KeyRecord
from orchestrator.models import signing_key
from orchestrator.models.errors import InvalidInput, NotFound

_EXPIRES_DAYS = 90
_AS_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@dataclass(frozen=True)
class _NewKey:
    """The options of `keys create`."""

    tenant: str
    scopes: str
    name: str
    environment: str
    expires_days: int
    no_expiry: bool

    @property
    def expires_at(self) -> datetime | None:
        return None if self.no_expiry else datetime.now(UTC) + timedelta(days=self.expires_days)


@click.group()
def keys() -> None:
    """Create, rotate, revoke and list API keys (POST /v1/auth/token turns one into a JWT); make signing keys."""


@keys.command()
@click.option("--tenant", required=True, help="The tenant of the key; it sees only its own tasks.")
@click.option(
    "--scopes",
    default=",".join(credential.LEAST_SCOPES),
    show_default=True,
    help="all, or some of: " + ", ".join(credential.SCOPES),
)
@click.option("--name", default="", help="A label for people.")
@click.option(
    "--environment", default="live", show_default=True, help="Part of the key: octo_<environment>_..."
)
@click.option(
    "--expires-days",
    type=click.IntRange(min=1, max=36_500),
    default=_EXPIRES_DAYS,
    show_default=True,
    help="Days until the key expires.",
)
@click.option("--no-expiry", is_flag=True, help="The key is valid until it is revoked.")
@_AS_JSON
def create(*, as_json: bool, **options: Any) -> None:
    """Make a key and print it: it can't be shown again."""
    wanted = _NewKey(**options)
    with database() as conn:
        record, text = key_store.create(
            conn,
            tenant=wanted.tenant,
            scopes=_scopes(wanted.scopes),
            name=wanted.name,
            environment=wanted.environment,
            expires_at=wanted.expires_at,
        )
        audit_log.append(conn, [entry_of("key.create", tenant=wanted.tenant, key_id=record.id)])
    click.echo(json.dumps({"key": text, **_document(record)}, indent=2) if as_json else text)


@keys.command()
@click.argument("key_id")
@_AS_JSON
def revoke(key_id: str, as_json: bool) -> None:
    """Revoke the key with the id KEY_ID (see `keys list`); its tokens are refused from now on."""
    with database() as conn:
        found = key_store.revoke(conn, key_id)
        tenant = key_store.tenant_of(conn, key_id)
        audit_log.append(conn, [entry_of("key.revoke", tenant=tenant, key_id=key_id, is_done=found)])
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
    help="Hours for which both keys are valid.",
)
@_AS_JSON
def rotate(key_id: str, overlap_hours: int, as_json: bool) -> None:
    """Make a new key with the tenant and scopes of KEY_ID and print it; KEY_ID expires after the overlap."""
    with database() as conn:
        made = key_store.rotate(conn, key_id, overlap_seconds=overlap_hours * 3600)
        tenant = made[0].tenant if made else None
        audit_log.append(
            conn, [entry_of("key.rotate", tenant=tenant, key_id=key_id, is_done=made is not None)]
        )
    if made is None:
        raise NotFound(f"there is no valid key {key_id}: `octollm keys list` shows them")
    record, text = made
    click.echo(json.dumps({"key": text, **_document(record)}, indent=2) if as_json else text)


@keys.command(name="webhook-secret")
@click.option("--tenant", required=True, help="The tenant whose webhooks it signs.")
def webhook_secret(tenant: str) -> None:
    """Print the secret that signs a tenant's webhooks, for a verifier of Standard Webhooks.

    It is derived from WEBHOOK_SECRET, or from JWT_SECRET if that is unset, and changes with it.
    """
    secret = credential.webhook_secret(settings.load(stack_environ()), tenant)
    write_audit_entry(entry_of("webhook.secret", tenant=tenant, key_id=None))
    click.echo(secret)


@keys.command(name="arm-secret")
@click.argument("arm_id")
def arm_secret(arm_id: str) -> None:
    """Print the secret that signs the requests to the HTTP arm ARM_ID, for a verifier of Standard Webhooks.

    It is derived from ARM_SECRET, or from JWT_SECRET if that is unset, and changes with it.
    """
    secret = credential.arm_secret(settings.load(stack_environ()), arm_id)
    write_audit_entry(entry_of("arm.secret", tenant=None, key_id=None))
    click.echo(secret)


@keys.command(name="permits")
def permits() -> None:
    """Make a key pair for steps' permits and print it for `eval` or for .env.

    Planners and judges need the private key, all workers and the API the public key.
    """
    private = signing_key.new_private_key()
    click.echo(
        f"export PERMIT_PRIVATE_KEY={private}\nexport PERMIT_PUBLIC_KEY={signing_key.public_key_of(private)}"
    )


@keys.command(name="tokens")
@click.option("--name", default="", help="The `kid` of its tokens.  [default: derived from the key]")
def tokens(name: str) -> None:
    """Make a key pair for tokens and print it for `eval` or for .env.

    The API and operators need the private key. To rotate, put the old public key into JWT_PUBLIC_KEYS.
    """
    private = signing_key.new_private_key()
    public = signing_key.public_key_of(private)
    public_key = f"{name or signing_key.key_id_of(public)}={public}"
    try:
        signing_key.parse_named_keys(public_key)
    except ValueError as error:
        raise InvalidInput.at("name", "must be 1 to 64 of A-Z a-z 0-9 . _ -") from error
    click.echo(f"export JWT_PRIVATE_KEY={private}\nexport JWT_PUBLIC_KEYS={public_key}")


@keys.command(name="list")
@click.option("--tenant", help="Only keys of this tenant.")
@_AS_JSON
def list_keys(tenant: str | None, as_json: bool) -> None:
    """List keys, newest first, without their secrets."""
    with database() as conn:
        records = key_store.list_keys(conn, tenant=tenant)
    if as_json:
        click.echo(json.dumps([_document(record) for record in records], indent=2))
        return
    for record in records:
        scopes = "all" if record.scopes == credential.SCOPES else ",".join(record.scopes)
        click.echo(f"{record.id}  {record.tenant:<16} {_state(record):<24} {scopes}  {record.name}".rstrip())


@click.command()
@click.option("--tenant", required=True, help="The tenant of its bearer.")
@click.option(
    "--scopes", default="all", show_default=True, help="all, or some of: " + ", ".join(credential.SCOPES)
)
@click.option(
    "--ttl", type=click.IntRange(1, 86_400), help="Seconds for which it is valid.  [default: JWT_TTL_SECONDS]"
)
def token(tenant: str, scopes: str, ttl: int | None) -> None:
    """Print a JWT, and nothing else on stdout; JWT_PRIVATE_KEY (or the one in $OCTOLLM_HOME/stack.env) signs it.

    It belongs to no API key and can't be revoked: choose a short --ttl.
    """
    loaded = settings.load_signing(stack_environ())
    granted = credential.expand_scopes(_scopes(scopes))
    write_audit_entry(entry_of("token.issue", tenant=tenant, key_id=None))
    click.echo(
        credential.sign_token(
            loaded,
            tenant=tenant,
            key_id="cli",
            scopes=granted,
            ttl=ttl or loaded.jwt_ttl_seconds,
        )
    )


def _scopes(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


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
