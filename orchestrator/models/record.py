"""Writes values as JSON text for Postgres' jsonb, and ignores members of newer releases when reading it."""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import fields
from datetime import datetime
from decimal import Decimal
from typing import Any

_SURROGATE = re.compile("[\ud800-\udfff]")
_NUL = re.compile(r"(?<!\\)((?:\\\\)*)\\u0000")


def encode(value: Any) -> str:
    """Return any value of an arm as JSON text that jsonb accepts.

    NUL characters and lone surrogates become U+FFFD, numbers that JSON lacks (NaN, infinities) become null;
    datetimes become ISO 8601, decimals strings, unknown objects their repr.
    """
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, default=_plain)
    except ValueError:
        text = json.dumps(_finite(value), ensure_ascii=False, allow_nan=False, default=_plain)
    if "\\u0000" in text:
        text = _NUL.sub("\\1\ufffd", text)
    return text if text.isascii() else _SURROGATE.sub("\ufffd", text)


def known_members(kind: type, members: Mapping[str, Any]) -> dict[str, Any]:
    """Return the members that the dataclass `kind` has: a newer release may have written more."""
    names = {field.name for field in fields(kind)}
    return {name: value for name, value in members.items() if name in names}


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, set | frozenset):
        return sorted(value, key=repr)
    if isinstance(value, Mapping):
        return dict(value)
    return repr(value)


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value
