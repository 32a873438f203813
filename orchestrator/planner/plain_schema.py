"""Rewrites any JSON Schema, such as a tool's of an MCP server, into the few keywords that the planner reads."""

from collections.abc import Mapping, Sequence
from typing import Any

MAX_DEPTH = 8
MAX_PARTS = 400
_MAX_CHOICES = 100
_KINDS = ("object", "array", "string", "integer", "number", "boolean", "null")
_KEPT: Mapping[str, type | tuple[type, ...]] = {
    "description": str,
    "pattern": str,
    "minimum": (int, float),
    "maximum": (int, float),
}


def plain_schema(schema: Any) -> dict[str, Any]:
    """Return a schema that accepts at least what `schema` accepts, without $ref, allOf, oneOf and const.

    It has type, enum, properties, required, items, additionalProperties, anyOf, description, pattern, minimum and
    maximum only. Below MAX_DEPTH, and after MAX_PARTS parts, it accepts anything.
    """
    return _Plain(schema).part(schema, MAX_DEPTH)


class _Plain:
    def __init__(self, root: Any) -> None:
        self._root = root
        self._left = MAX_PARTS

    def part(self, schema: Any, depth: int) -> dict[str, Any]:
        self._left -= 1
        if not isinstance(schema, Mapping) or depth <= 0 or self._left < 0:
            return {}
        if "$ref" in schema:
            return {**self.part(_pointed_at(schema["$ref"], self._root), depth - 1), **_described(schema)}
        written: dict[str, Any] = {
            word: schema[word] for word, kind in _KEPT.items() if isinstance(schema.get(word), kind)
        }
        written |= _values(schema)
        if required := [name for name in _listed(schema, "required") if isinstance(name, str)]:
            written["required"] = required
        if isinstance(schema.get("properties"), Mapping):
            written["properties"] = {
                str(name): self.part(member, depth - 1) for name, member in schema["properties"].items()
            }
        if isinstance(schema.get("items"), Mapping):
            written["items"] = self.part(schema["items"], depth - 1)
        if "additionalProperties" in schema:
            other = schema["additionalProperties"]
            written["additionalProperties"] = (
                self.part(other, depth - 1) if isinstance(other, Mapping) else other is not False
            )
        if choices := _listed(schema, "anyOf") or _listed(schema, "oneOf"):
            written["anyOf"] = [self.part(choice, depth - 1) for choice in choices]
        for one in _listed(schema, "allOf"):
            written = _joined(written, self.part(one, depth - 1))
        return written


def _values(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return the type and the values that a schema names; a long list of values is left out."""
    kinds = schema.get("type")
    named = [
        kind for kind in ([kinds] if isinstance(kinds, str) else _listed(schema, "type")) if kind in _KINDS
    ]
    values = [schema["const"]] if "const" in schema else _listed(schema, "enum")
    return {
        **({"type": named[0] if len(named) == 1 else named} if named else {}),
        **({"enum": list(values)} if 0 < len(values) <= _MAX_CHOICES and _are_scalars(values) else {}),
    }


def _are_scalars(values: Sequence[Any]) -> bool:
    return all(value is None or isinstance(value, str | int | float) for value in values)


def _joined(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keywords of both, their members together."""
    joined = {**one, **other}
    if "properties" in one and "properties" in other:
        joined["properties"] = {**one["properties"], **other["properties"]}
    if "required" in one and "required" in other:
        joined["required"] = list(dict.fromkeys([*one["required"], *other["required"]]))
    return joined


def _described(schema: Mapping[str, Any]) -> dict[str, Any]:
    return {word: schema[word] for word in ("description",) if word in schema}


def _listed(schema: Mapping[str, Any], word: str) -> Sequence[Any]:
    found = schema.get(word)
    return found if isinstance(found, list | tuple) else ()


def _pointed_at(reference: Any, root: Any) -> Any:
    """Return the part of `root` at a local reference (#/...); None for any other reference."""
    if not isinstance(reference, str) or not reference.startswith("#"):
        return None
    found = root
    for token in filter(None, reference[1:].split("/")):
        name = token.replace("~1", "/").replace("~0", "~")
        found = found.get(name) if isinstance(found, Mapping) else None
    return found
