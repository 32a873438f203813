"""Reads what makes a submission the same as an earlier one: its Idempotency-Key, else its X-Request-ID."""

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

from flask import request

from api.middleware.context import request_id
from orchestrator.models.caller import IdempotencyKey
from orchestrator.models.errors import InvalidInput

KEY_SECONDS = 24 * 3600
REQUEST_SECONDS = 600
_KEY = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]{0,253}[\x21-\x7e])?")


def read_once(members: Mapping[str, Any]) -> IdempotencyKey | None:
    """Return under which name the body `members` is submitted once; None when the client gave none.

    OctoLLM's clients send a POST again after a timeout, with the same X-Request-ID: the same body under it within
    ten minutes is the same task, another body another one. Raises InvalidInput for a key that is none.
    """
    canonical = json.dumps(members, sort_keys=True, separators=(",", ":"))
    sha256 = hashlib.sha256(canonical.encode()).hexdigest()
    key = request.headers.get("Idempotency-Key")
    if key is not None:
        if not _KEY.fullmatch(key):
            raise InvalidInput.at("Idempotency-Key", "must be 1 to 255 printable ASCII characters")
        return IdempotencyKey(f"key:{key}", sha256, KEY_SECONDS)
    # else the id is one that we made
    if request.headers.get("X-Request-ID") == request_id():
        return IdempotencyKey(f"request:{request_id()}:{sha256}", sha256, REQUEST_SECONDS)
    return None
