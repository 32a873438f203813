"""Makes and takes tickets: they open one task's stream once, for callers who can send no header, as browsers can't.

A ticket is kept in Redis with a seal: who may write there can neither make one nor turn one into another's.
"""

import hashlib
import hmac
import json
import secrets
from dataclasses import asdict
from typing import Any

import redis
import structlog

from orchestrator.auth.credential import Principal
from orchestrator.models.errors import InvalidCredential, Unavailable

TICKET_SECONDS = 30
_SEAL_BYTES = 32

log = structlog.get_logger(__name__)


def issue(client: "redis.Redis", principal: Principal, *, task_id: str, secret: bytes) -> str:
    """Return a ticket with which anybody may stream this task as `principal`, once, within TICKET_SECONDS."""
    ticket = secrets.token_urlsafe(32)
    bearer = {**asdict(principal), "scopes": sorted(principal.scopes), "task_id": task_id}
    name, text = _key(ticket), json.dumps(bearer).encode()
    try:
        client.set(name, _seal(secret, name, text) + text, ex=TICKET_SECONDS)
    except redis.RedisError as error:
        raise Unavailable("Tickets can't be made now; try again.") from error
    return ticket


def redeem(client: "redis.Redis", ticket: str, *, task_id: str, secret: bytes) -> Principal:
    """Take a ticket and return whom it stands for. Raises InvalidCredential when it is used, late or another task's."""
    try:
        found = client.getdel(_key(ticket))
    except redis.RedisError as error:
        raise Unavailable("Tickets can't be checked now; try again.") from error
    bearer = _opened(found, secret=secret, name=_key(ticket)) if isinstance(found, bytes) else {}
    if bearer.pop("task_id", None) != task_id:
        raise InvalidCredential(
            "The ticket was used, is older than 30 seconds, or is for another task.",
            details={"reason": "ticket"},
        )
    return Principal(**{**bearer, "scopes": frozenset(bearer["scopes"])})


def _opened(sealed: bytes, *, secret: bytes, name: str) -> dict[str, Any]:
    """Return what was sealed under this name; nothing where the seal does not hold."""
    seal, text = sealed[:_SEAL_BYTES], sealed[_SEAL_BYTES:]
    if not hmac.compare_digest(seal, _seal(secret, name, text)):
        log.warning("ticket.refused", reason="seal broken")
        return {}
    bearer: dict[str, Any] = json.loads(text)
    return bearer


def _seal(secret: bytes, name: str, text: bytes) -> bytes:
    return hmac.new(secret, name.encode() + b"\0" + text, "sha256").digest()


def _key(ticket: str) -> str:
    """Name a ticket in Redis so that who can read there can't use it."""
    return f"octollm:ticket:{hashlib.sha256(ticket.encode()).hexdigest()}"
