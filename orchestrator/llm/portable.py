"""Rewrites a JSON Schema into the part of it that providers can enforce, and undoes what that did to the answer.

Source: OpenAI, "Structured Outputs: supported schemas"; Anthropic, "Structured outputs: JSON Schema limitations".
"""

from collections.abc import Iterator, Mapping
from typing import Any

_KEPT = {"type", "enum", "const", "description", "$ref"}
_KINDS = {"object", "array", "string", "integer", "number", "boolean", "null"}


class _Inexpressible(Exception):
    """Part of the schema can't be said with what providers enforce."""


def portable(schema: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the schema with every object closed and every member required; None where that can't be said.

    A member that was optional may be null instead. Bounds and patterns are left out: whoever asks checks again.
    """
    if schema.get("type") != "object":
        return None
    try:
        return _closed(schema)
    except _Inexpressible:
        return None


def without_nulls(value: Any, schema: Any, *, root: Any = None) -> Any:
    """Return `value` without the nulls that stand for optional members of `schema` which may not be null."""
    root = schema if root is None else root
    schema = _target(schema, root)
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


def verdicts_in(
    value: Any, schema: Any, *, root: Any = None, path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], bool | None]]:
    """Yield (path, truth value) for each member of `value` that `schema` declares to be one."""
    root = schema if root is None else root
    schema = _target(schema, root)
    if not isinstance(schema, Mapping):
        return
    if isinstance(value, list):
        for number, item in enumerate(value):
            yield from verdicts_in(item, schema.get("items"), root=root, path=(*path, str(number)))
    elif isinstance(value, dict):
        members = schema.get("properties") or {}
        for name in value.keys() & members.keys():
            yield from verdicts_in(value[name], members[name], root=root, path=(*path, name))
    elif value is None or isinstance(value, bool):
        kinds = schema.get("type", ())
        if "boolean" in ([kinds] if isinstance(kinds, str) else kinds):
            yield path, value


def _closed(schema: Any) -> dict[str, Any]:
    if not isinstance(schema, Mapping):
        raise _Inexpressible
    kept = {word: schema[word] for word in schema.keys() & _KEPT}
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
    return {"anyOf": [schema, {"type": "null"}]}


def _may_be_null(schema: Any) -> bool:
    if not isinstance(schema, Mapping):
        return False
    kinds = schema.get("type", ())
    return "null" in ([kinds] if isinstance(kinds, str) else kinds) or any(
        _may_be_null(choice) for choice in schema.get("anyOf", ())
    )


def _target(schema: Any, root: Any) -> Any:
    reference = schema.get("$ref") if isinstance(schema, Mapping) else None
    if not isinstance(reference, str):
        return schema
    found = root
    for part in filter(None, reference.removeprefix("#").split("/")):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found
