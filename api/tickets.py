"""Makes and takes tickets: they open one task's stream once, for callers who can send no header, as browsers can't."""

import hashlib
import json
import secrets
from dataclasses import asdict

import redis

from orchestrator.credential import Principal
from orchestrator.errors import InvalidCredential, Unavailable

TICKET_SECONDS = 30


def issue(client: "redis.Redis", principal: Principal, task_id: str) -> str:
    """Return a ticket with which anybody may stream this task as `principal`, once, within TICKET_SECONDS."""
    ticket = secrets.token_urlsafe(32)
    bearer = {**asdict(principal), "scopes": sorted(principal.scopes), "task_id": task_id}
    try:
        client.set(_key(ticket), json.dumps(bearer), ex=TICKET_SECONDS)
    except redis.RedisError as error:
        raise Unavailable("Tickets can't be made now; try again.") from error
    return ticket


def redeem(client: "redis.Redis", ticket: str, task_id: str) -> Principal:
    """Take a ticket and return whom it stands for. Raises InvalidCredential when it is used, late or another task's."""
    try:
        found = client.getdel(_key(ticket))
    except redis.RedisError as error:
        raise Unavailable("Tickets can't be checked now; try again.") from error
    bearer = json.loads(found) if isinstance(found, bytes) else {}
    if bearer.pop("task_id", None) != task_id:
        raise InvalidCredential(
            "The ticket was used, is older than 30 seconds, or is for another task.",
            details={"reason": "ticket"},
        )
    return Principal(**{**bearer, "scopes": frozenset(bearer["scopes"])})


def _key(ticket: str) -> str:
    """Name a ticket in Redis so that who can read there can't use it."""
    return f"octollm:ticket:{hashlib.sha256(ticket.encode()).hexdigest()}"
