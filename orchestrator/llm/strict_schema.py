"""Rewrites a JSON Schema into the strict subset that providers enforce, and undoes the effect on the answer.

Source: OpenAI, "Structured Outputs: supported schemas"; Anthropic, "Structured outputs: JSON Schema limitations".
"""

from collections.abc import Mapping
from typing import Any

_KEPT = {"type", "enum", "const", "description", "$ref"}
_KINDS = {"object", "array", "string", "integer", "number", "boolean", "null"}


class _Inexpressible(Exception):
    """A part of the schema is outside the strict subset."""


def strict_schema(schema: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the schema with every object closed and every member required, or None if it can't be expressed so.

    Optional members become nullable. Bounds and patterns are dropped: the caller validates the answer anyway.
    """
    if schema.get("type") != "object":
        return None
    try:
        return _closed(schema)
    except _Inexpressible:
        return None


def without_nulls(value: Any, schema: Any, *, root: Any = None) -> Any:
    """Return `value` without the nulls of members that `schema` makes optional but not nullable."""
    root = schema if root is None else root
    schema = resolve(schema, root)
    if not isinstance(schema, Mapping):
        return value
    if isinstance(value, list):
        return [without_nulls(item, schema.get("items"), root=root) for item in value]
    members = schema.get("properties")
    if not isinstance(value, dict) or not isinstance(members, Mapping):
        return value
    required = schema.get("required", ())
    return {
        name: without_nulls(item, members.get(name), root=root)
        for name, item in value.items()
        if item is not None or name in required or name not in members or _may_be_null(members[name])
    }


def resolve(schema: Any, root: Any) -> Any:
    """Return the schema that `schema`'s $ref points at in `root`; without a $ref, `schema` itself."""
    reference = schema.get("$ref") if isinstance(schema, Mapping) else None
    if not isinstance(reference, str):
        return schema
    found = root
    for part in filter(None, reference.removeprefix("#").split("/")):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found


def _closed(schema: Any) -> dict[str, Any]:
    if not isinstance(schema, Mapping):
        raise _Inexpressible
    # in the schema's own order: a set's order varies between processes, and providers cache schemas by their text
    kept = {word: value for word, value in schema.items() if word in _KEPT}
    kinds = [schema["type"]] if isinstance(schema.get("type"), str) else schema.get("type", [])
    if not set(kinds) <= _KINDS or {"oneOf", "allOf", "not", "if", "patternProperties"} & schema.keys():
        raise _Inexpressible
    if "anyOf" in schema:
        kept["anyOf"] = [_closed(choice) for choice in schema["anyOf"]]
    if "$defs" in schema:
        kept["$defs"] = {name: _closed(part) for name, part in schema["$defs"].items()}
    if "array" in kinds:
        kept["items"] = _closed(schema.get("items"))
    if "object" in kinds:
        kept |= _closed_object(schema)
    if not kept.keys() & {"type", "enum", "const", "$ref", "anyOf"}:
        raise _Inexpressible
    return kept


def _closed_object(schema: Mapping[str, Any]) -> dict[str, Any]:
    members = schema.get("properties")
    if not isinstance(members, Mapping) or isinstance(schema.get("additionalProperties"), Mapping):
        raise _Inexpressible
    required = schema.get("required", ())
    closed = {name: _closed(member) for name, member in members.items()}
    return {
        "properties": {
            name: member if name in required or _may_be_null(members[name]) else _or_null(member)
            for name, member in closed.items()
        },
        "required": list(members),
        "additionalProperties": False,
    }


def _or_null(schema: dict[str, Any]) -> dict[str, Any]:
    choices = schema["anyOf"] if schema.keys() == {"anyOf"} else [schema]
    return {"anyOf": [*choices, {"type": "null"}]}


def _may_be_null(schema: Any) -> bool:
    if not isinstance(schema, Mapping):
        return False
    kinds = schema.get("type", ())
    return "null" in ([kinds] if isinstance(kinds, str) else kinds) or any(
        _may_be_null(choice) for choice in schema.get("anyOf", ())
    )
