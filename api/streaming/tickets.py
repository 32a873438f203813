"""Issues and redeems tickets: each opens one task's stream once, for clients that can't send headers, such as browsers.

Tickets are signed and stored in Redis: write access to Redis is not enough to forge or change one.
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
_SIGNATURE_BYTES = 32

log = structlog.get_logger(__name__)


def issue(client: "redis.Redis", principal: Principal, *, task_id: str, secret: bytes) -> str:
    """Return a ticket whose bearer may stream this task as `principal`, once, within TICKET_SECONDS.

    Raises Unavailable while Redis is away.
    """
    ticket = secrets.token_urlsafe(32)
    payload = {**asdict(principal), "scopes": sorted(principal.scopes), "task_id": task_id}
    key, text = _key(ticket), json.dumps(payload).encode()
    try:
        client.set(key, _sign(secret, key, text) + text, ex=TICKET_SECONDS)
    except redis.RedisError as error:
        raise Unavailable("Tickets can't be issued now; try again.") from error
    return ticket


def redeem(client: "redis.Redis", ticket: str, *, task_id: str, secret: bytes) -> Principal:
    """Delete a ticket and return its principal.

    Raises InvalidCredential if it was used, has expired or is for another task, Unavailable while Redis is away.
    """
    try:
        stored = client.getdel(_key(ticket))
    except redis.RedisError as error:
        raise Unavailable("Tickets can't be checked now; try again.") from error
    payload = _verified(stored, secret=secret, key=_key(ticket)) if isinstance(stored, bytes) else {}
    if payload.pop("task_id", None) != task_id:
        raise InvalidCredential(
            "The ticket was used, is older than 30 seconds, or is for another task.",
            details={"reason": "ticket"},
        )
    return Principal(**{**payload, "scopes": frozenset(payload["scopes"])})


def _verified(stored: bytes, *, secret: bytes, key: str) -> dict[str, Any]:
    """Return the payload that was signed for this key; an empty one if the signature is wrong."""
    signature, text = stored[:_SIGNATURE_BYTES], stored[_SIGNATURE_BYTES:]
    if not hmac.compare_digest(signature, _sign(secret, key, text)):
        log.warning("ticket.refused", reason="wrong signature")
        return {}
    payload: dict[str, Any] = json.loads(text)
    return payload


def _sign(secret: bytes, key: str, text: bytes) -> bytes:
    return hmac.new(secret, key.encode() + b"\0" + text, "sha256").digest()


def _key(ticket: str) -> str:
    """Return the ticket's Redis key: a hash, so that read access to Redis is not enough to use it."""
    return f"octollm:ticket:{hashlib.sha256(ticket.encode()).hexdigest()}"
