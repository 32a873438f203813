"""Owns the API keys: who may call for which tenant, until when."""

import hmac
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, RowMapping

from orchestrator.auth.credential import Principal, expand_scopes, new_api_key, parse_api_key
from orchestrator.chord.sql import load

_SQL = load(__file__)


@dataclass(frozen=True)
class KeyRecord:
    """A key as we know it: everything but its secret."""

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
    """Make a key and return it with its text, which nobody can show again. Scopes may be ["all"]."""
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
    """Return whom a key stands for, or None when it is unknown, wrong, expired or revoked."""
    key = parse_api_key(raw_key)
    if key is None:
        return None
    row = conn.exec_driver_sql(
        _SQL["find_live_key"], {"id": key.id, "environment": key.environment}
    ).one_or_none()
    if row is None or not hmac.compare_digest(row.secret_sha256, key.digest):
        return None
    return Principal(row.tenant, key.id, frozenset(row.scopes), subject=f"{row.tenant}/{key.id}")


def rotate(conn: Connection, key_id: str, *, overlap_seconds: int) -> tuple[KeyRecord, str] | None:
    """Make a key like this one, which itself ends after `overlap_seconds`; None when it does not hold any more.

    The new one lives as long as the old one was made for. Locks the old key; call it in a transaction.
    """
    row = conn.exec_driver_sql(_SQL["retire_key"], {"id": key_id, "overlap": overlap_seconds}).one_or_none()
    if row is None:
        return None
    return create(
        conn,
        tenant=row.tenant,
        scopes=row.scopes,
        name=row.name,
        environment=row.environment,
        expires_at=row.successor_expires_at,
    )


def touch(conn: Connection, key_id: str) -> None:
    """Note that the key was used now; at most one write a minute."""
    conn.exec_driver_sql(_SQL["touch_key"], {"id": key_id})


def revoke(conn: Connection, key_id: str, *, tenant: str | None = None) -> bool:
    """Revoke a key; calling twice is safe. Return False when there is none (or it is another tenant's)."""
    return conn.exec_driver_sql(_SQL["revoke_key"], {"id": key_id, "tenant": tenant}).rowcount == 1


def tenant_of(conn: Connection, key_id: str) -> str | None:
    """Return whose key it is; None when there is none of that id."""
    tenant: str | None = conn.exec_driver_sql(_SQL["tenant_of_key"], {"id": key_id}).scalar_one_or_none()
    return tenant


def is_revoked(conn: Connection, key_id: str) -> bool:
    """Tell whether tokens of this key must be refused: it was revoked or has expired."""
    return bool(conn.exec_driver_sql(_SQL["is_key_revoked"], {"id": key_id}).scalar_one())


def list_keys(conn: Connection, *, tenant: str | None = None) -> list[KeyRecord]:
    """Return a tenant's keys, or everybody's, newest first."""
    return [_record(row) for row in conn.exec_driver_sql(_SQL["list_keys"], {"tenant": tenant}).mappings()]


def _record(row: RowMapping) -> KeyRecord:
    return KeyRecord(**{**row, "scopes": tuple(row["scopes"])})
