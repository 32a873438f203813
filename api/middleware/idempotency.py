"""Idempotent submission: reads the Idempotency-Key or X-Request-ID, and returns the earlier task for a repeated one."""

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from flask import request

from api.middleware import context
from orchestrator.lifecycle.submission import Submitted
from orchestrator.models.caller import Caller, IdempotencyKey
from orchestrator.models.errors import InvalidInput, OctoError

HEADER = "Idempotency-Key"
REPEATABLE = {HEADER: "A second request with the same key and body gets the first one's response."}
"""The header, as an operation declares that it reads it."""
KEY_SECONDS = 24 * 3600
REQUEST_SECONDS = 600
_KEY = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]{0,253}[\x21-\x7e])?")


def read_key(members: Mapping[str, Any]) -> IdempotencyKey | None:
    """Return the idempotency key of a request with the body `members`; None if the client sent none.

    OctoLLM's clients repeat a POST after a timeout with the same X-Request-ID. Within ten minutes the same body with
    the same id is the same task; a different body is a different task. Raises InvalidInput if the key is malformed.
    """
    key = request.headers.get(HEADER)
    if key is not None:
        return named_key(key, members, place=HEADER)
    request_id = context.request_id()
    # otherwise the id was made here
    if request.headers.get("X-Request-ID") == request_id:
        sha256 = _digest(members)
        return IdempotencyKey(f"request:{request_id}:{sha256}", sha256, REQUEST_SECONDS)
    return None


def named_key(key: object, members: Mapping[str, Any], *, place: str = "idempotency_key") -> IdempotencyKey:
    """Return the idempotency key of this text for a request with these members. Raises InvalidInput at `place`."""
    if not isinstance(key, str) or not _KEY.fullmatch(key):
        raise InvalidInput.at(place, "must be 1 to 255 printable ASCII characters")
    return IdempotencyKey(f"key:{key}", _digest(members), KEY_SECONDS)


def read_retried(members: Mapping[str, Any], *, key_id: str) -> tuple[IdempotencyKey, bool]:
    """Return the name of a submission by a client that names none, and whether it says that it sends it again.

    OpenAI's SDKs repeat a POST after a timeout, a 409 or a 5xx without a key; the header X-Stainless-Retry-Count alone
    tells a repeated request from a new one with the same body.
    """
    if (named := read_key(members)) is not None:
        return named, True
    sha256 = _digest(members)
    is_retry = request.headers.get("X-Stainless-Retry-Count", "0") != "0"
    return IdempotencyKey(f"responses:{key_id}:{sha256}", sha256, REQUEST_SECONDS), is_retry


def _digest(members: Mapping[str, Any]) -> str:
    canonical = json.dumps(members, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def submit_once(caller: Caller, submit: Callable[[], Submitted]) -> Submitted:
    """Return the task that `submit` creates, or the task of an earlier submission with the caller's idempotency key.

    `submit` creates nothing when the key is taken, but it may fail before it finds out: since the first submission a
    deadline may have passed, an attachment been deleted, a setting changed. So the key is looked up after any error.
    (A lookup before `submit` would cost each submission with a key one more query.)
    """
    try:
        return submit()
    except OctoError:
        earlier = context.orchestrator().find_earlier(caller)
        if earlier is None:
            raise
        return earlier
