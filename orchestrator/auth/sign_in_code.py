"""Issues and redeems codes that sign in to the console once: `octollm up` prints one in a link.

Redis has only a code's hash, beside whom it signs in and a signature: write access to Redis is not enough to make one.
"""

import hashlib
import hmac
import json
import secrets
import time
from collections.abc import Iterable
from typing import Any

import redis

from orchestrator.auth.credential import Principal
from orchestrator.models.errors import InvalidCredential, Unavailable

CODE_SECONDS = 900
_SIGNATURE_BYTES = 32
_PREFIX = "octollm:sign-in:"


def issue(client: "redis.Redis", *, tenant: str, key_id: str, scopes: Iterable[str], secret: bytes) -> str:
    """Return a code (43 characters) whose bearer may sign in as this tenant once, within CODE_SECONDS.

    Raises Unavailable while Redis is away.
    """
    code = secrets.token_urlsafe(32)
    key = _key(code)
    expires_at = int(time.time()) + CODE_SECONDS
    text = json.dumps(
        {"tenant": tenant, "key_id": key_id, "scopes": sorted(scopes), "expires_at": expires_at}
    ).encode()
    try:
        client.set(key, _sign(secret, key, text) + text, ex=CODE_SECONDS)
    except redis.RedisError as error:
        raise Unavailable("A sign-in link can't be made now; try again.") from error
    return code


def redeem(client: "redis.Redis", code: str, *, secret: bytes) -> Principal:
    """Delete a code and return whom it signs in.

    Raises InvalidCredential if it is unknown, was used or has expired, Unavailable while Redis is away.
    """
    key = _key(code)
    try:
        stored = client.getdel(key)
    except redis.RedisError as error:
        raise Unavailable("Sign-in links can't be checked now; try again.") from error
    signed = _verified(stored, secret=secret, key=key) if isinstance(stored, bytes) else {}
    if signed.get("expires_at", 0) <= time.time():
        raise InvalidCredential(
            "The sign-in link was used or is older than 15 minutes; `octollm console` prints a new one.",
            details={"reason": "code"},
        )
    return Principal(
        signed["tenant"],
        signed["key_id"],
        frozenset(signed["scopes"]),
        subject=f"{signed['tenant']}/{signed['key_id']}",
    )


def _verified(stored: bytes, *, secret: bytes, key: str) -> dict[str, Any]:
    """Return what was signed for this key; nothing if the signature is wrong."""
    signature, text = stored[:_SIGNATURE_BYTES], stored[_SIGNATURE_BYTES:]
    if not hmac.compare_digest(signature, _sign(secret, key, text)):
        return {}
    signed: dict[str, Any] = json.loads(text)
    return signed


def _key(code: str) -> str:
    return _PREFIX + hashlib.sha256(code.encode("utf-8", "surrogatepass")).hexdigest()


def _sign(secret: bytes, key: str, text: bytes) -> bytes:
    return hmac.new(secret, key.encode() + b"\0" + text, "sha256").digest()
