"""Creates, checks, rotates and revokes API keys."""

import hmac
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, RowMapping

from orchestrator.auth.credential import Principal, expand_scopes, new_api_key, parse_api_key
from orchestrator.chord.sql import load
from orchestrator.memory import schedules

_SQL = load(__file__)


@dataclass(frozen=True)
class KeyRecord:
    """A stored key without its secret."""

    id: str
    tenant: str
    name: str
    environment: str
    scopes: tuple[str, ...]
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None


def create(
    conn: Connection,
    *,
    tenant: str,
    scopes: Iterable[str],
    name: str = "",
    environment: str = "live",
    expires_at: datetime | None = None,
) -> tuple[KeyRecord, str]:
    """Create a key and return it with its text, which is not stored. Scopes may be ["all"]."""
    key = new_api_key(environment)
    values = {
        "id": key.id,
        "tenant": tenant,
        "name": name,
        "environment": environment,
        "digest": key.digest,
        "scopes": list(expand_scopes(scopes)),
        "expires_at": expires_at,
    }
    row = conn.exec_driver_sql(_SQL["create_key"], values).mappings().one()
    return _record(row), key.text


def verify(conn: Connection, raw_key: str) -> Principal | None:
    """Return the principal of a key, or None if the key is unknown, wrong, expired or revoked."""
    key = parse_api_key(raw_key)
    if key is None:
        return None
    row = conn.exec_driver_sql(
        _SQL["find_live_key"], {"id": key.id, "environment": key.environment}
    ).one_or_none()
    if row is None or not hmac.compare_digest(row.secret_sha256, key.digest):
        return None
    return Principal(row.tenant, key.id, frozenset(row.scopes), subject=f"{row.tenant}/{key.id}")


def rotate(
    conn: Connection, key_id: str, *, overlap_seconds: int, tenant: str | None = None
) -> tuple[KeyRecord, str] | None:
    """Create a successor with the same rights, and let the old key expire after `overlap_seconds`.

    The successor's lifetime is the one the old key was created with. The old key's schedules become the successor's.
    Returns None if the old key is no longer valid, or not of this tenant.
    Locks the old key; call it in a transaction.
    """
    values = {"id": key_id, "tenant": tenant, "overlap": overlap_seconds}
    row = conn.exec_driver_sql(_SQL["retire_key"], values).one_or_none()
    if row is None:
        return None
    key, text = create(
        conn,
        tenant=row.tenant,
        scopes=row.scopes,
        name=row.name,
        environment=row.environment,
        expires_at=row.successor_expires_at,
    )
    schedules.pass_on(conn, key.tenant, key_id, successor_id=key.id)
    return key, text


def touch(conn: Connection, key_id: str) -> None:
    """Record that the key was used now; writes at most once a minute."""
    conn.exec_driver_sql(_SQL["touch_key"], {"id": key_id})


def revoke(conn: Connection, key_id: str, *, tenant: str | None = None) -> bool:
    """Revoke a key; calling twice is safe. Return False if there is no such key, or not of this tenant."""
    found = conn.exec_driver_sql(_SQL["revoke_key"], {"id": key_id, "tenant": tenant})
    return found.one_or_none() is not None


def tenant_of(conn: Connection, key_id: str) -> str | None:
    """Return the tenant of a key; None if there is no such key."""
    tenant: str | None = conn.exec_driver_sql(_SQL["tenant_of_key"], {"id": key_id}).scalar_one_or_none()
    return tenant


def is_revoked(conn: Connection, key_id: str) -> bool:
    """Return whether tokens of this key must be refused because it was revoked or has expired."""
    return bool(conn.exec_driver_sql(_SQL["is_key_revoked"], {"id": key_id}).scalar_one())


def find_key(conn: Connection, tenant: str, key_id: str) -> KeyRecord | None:
    """Return a key of the tenant; None if there is none, or it is another tenant's."""
    row = conn.exec_driver_sql(_SQL["find_key"], {"id": key_id, "tenant": tenant}).mappings().one_or_none()
    return _record(row) if row else None


def list_keys(
    conn: Connection, *, tenant: str | None = None, limit: int | None = None, before: str | None = None
) -> list[KeyRecord]:
    """Return a tenant's keys, or all keys, newest first, starting after the key with the id `before`."""
    values = {"tenant": tenant, "limit": limit, "before": before}
    return [_record(row) for row in conn.exec_driver_sql(_SQL["list_keys"], values).mappings()]


def _record(row: RowMapping) -> KeyRecord:
    return KeyRecord(**{**row, "scopes": tuple(row["scopes"])})
