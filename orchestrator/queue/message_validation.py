"""Validates messages from a queue, because anyone who can write to Redis can put anything there.

A message of ours carries only ids, so it is small and plain. A foreign message is dropped; if it was meant for a row,
the sweeper publishes that row again.
"""

import base64
import json
import re
from collections.abc import Collection
from typing import Any, Final

MAX_BYTES: Final = 256 * 1024
_ID: Final = re.compile(r"[A-Za-z0-9._:@$-]{1,256}")
_NEVER_OURS: Final = ("compression", "eta", "expires", "stamped_headers")
_PLAIN: Final = (str, int, float, bool, type(None))


def read(raw: bytes, *, known_tasks: Collection[str] = ()) -> dict[str, Any]:
    """Return the message as kombu wrote it; raises ValueError with the reason when it is not one of ours.

    With `known_tasks` the message's task must be one of them.
    """
    if len(raw) > MAX_BYTES:
        raise ValueError(f"it has {len(raw)} bytes, and {MAX_BYTES} are allowed")
    try:
        message = json.loads(raw.decode())
    except (ValueError, RecursionError):
        raise ValueError("it is not JSON") from None
    if fault := _fault_of(message, known_tasks):
        raise ValueError(fault)
    found: dict[str, Any] = message
    return found


def _fault_of(message: Any, known_tasks: Collection[str]) -> str:
    if not isinstance(message, dict) or not isinstance(message.get("body"), str):
        return "it is not an object with a body"
    if message.get("content-type") != "application/json" or message.get("content-encoding") != "utf-8":
        return "its content type is not JSON in UTF-8"
    return (
        _fault_of_properties(message.get("properties"))
        or _fault_of_headers(message.get("headers"), known_tasks)
        or _fault_of_body(message["body"])
    )


def _fault_of_properties(properties: Any) -> str:
    if not isinstance(properties, dict) or not _is_id(properties.get("delivery_tag")):
        return "it has no delivery tag"
    if properties.get("body_encoding") != "base64":
        return "its body is not in base64"
    place = properties.get("delivery_info")
    if not isinstance(place, dict) or not all(
        isinstance(place.get(name), str) for name in ("exchange", "routing_key")
    ):
        return "it has no exchange or routing key"
    priority = properties.get("priority", 0)
    if not isinstance(priority, int) or not 0 <= priority <= 9:
        return "its priority is not a number from 0 to 9"
    if not all(isinstance(properties.get(name, ""), str | None) for name in ("correlation_id", "reply_to")):
        return "its correlation id or reply address is not a string"
    return ""


def _fault_of_headers(headers: Any, known_tasks: Collection[str]) -> str:
    if not isinstance(headers, dict) or not (_is_id(headers.get("task")) and _is_id(headers.get("id"))):
        return "it has no task name or id"
    if known_tasks and headers["task"] not in known_tasks:
        return "its task is unknown"
    if strange := [name for name in _NEVER_OURS if headers.get(name) is not None]:
        return f"it has {', '.join(strange)}"
    limits, stamps = headers.get("timelimit") or [], headers.get("stamps") or {}
    if not isinstance(limits, list) or not all(isinstance(limit, int | float | None) for limit in limits):
        return "its time limits are not numbers"
    rest = (value for name, value in headers.items() if name not in {"timelimit", "stamps"})
    if stamps or not all(isinstance(value, _PLAIN) for value in rest):
        return "its headers are not plain values"
    return "" if isinstance(headers.get("retries", 0), int) else "its retries are not a number"


def _fault_of_body(text: str) -> str:
    """Check the body in Celery's protocol 2: arguments, named arguments, and the signatures that follow."""
    try:
        body = json.loads(base64.b64decode(text, validate=True))
    except (ValueError, RecursionError):
        return "its body is not JSON in base64"
    if not isinstance(body, list) or [type(part) for part in body] != [list, dict, dict]:
        return "its body is not a task call"
    if not all(isinstance(value, dict | list | None) for value in body[2].values()):
        return "its callbacks are not signatures"
    return ""


def _is_id(value: Any) -> bool:
    return isinstance(value, str) and _ID.fullmatch(value) is not None
