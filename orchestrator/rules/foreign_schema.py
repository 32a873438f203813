"""Turns a JSON Schema that a tool's author wrote into one that our checker and our planner know in full.

References are written out, older spellings become those of draft 2020-12, and what can't be checked is left out: the
schema then accepts more than its author meant, and a warning says where.
"""

import json
from collections.abc import Mapping
from typing import Any, Final

from orchestrator.rules.pattern import compile_pattern
from orchestrator.rules.schema_check import schema_faults, size_faults

MAX_BYTES: Final = 64 * 1024
_MAX_NODES = 400
_MAX_REFERENCES = 8
_MAX_DESCRIPTION = 300
_VALUES = frozenset(
    (
        *("type", "enum", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
        *("minLength", "maxLength", "minItems", "maxItems", "uniqueItems", "minContains", "maxContains"),
        *("minProperties", "maxProperties", "dependentRequired", "required"),
    )
)
_SCHEMAS = frozenset(
    ["items", "additionalProperties", "contains", "propertyNames", "not", "if", "then", "else"]
)
_LISTS = frozenset(("allOf", "anyOf", "prefixItems"))
_TABLES = frozenset(("properties", "patternProperties", "dependentSchemas"))
# they say nothing about which values are valid
_NOTES = frozenset(
    (
        *("$schema", "$id", "$comment", "$defs", "definitions", "title", "default", "examples", "format"),
        *("deprecated", "readOnly", "writeOnly", "contentEncoding", "contentMediaType", "x-mcp-header"),
    )
)


class _Adapter:
    def __init__(self, root: Mapping[str, Any]) -> None:
        self._root = root
        self._nodes = 0
        self.warnings: list[str] = []

    def adapt(self, schema: Any, place: str, open_references: tuple[str, ...] = ()) -> dict[str, Any]:
        self._nodes += 1
        if self._nodes > _MAX_NODES:
            return self._relaxed(place, "the schema is too large when its references are written out")
        if not isinstance(schema, dict):
            return {} if schema is True else self._relaxed(place, f"{schema!r:.40} is not an object")
        if "$ref" in schema:
            return self._referred(schema, place, open_references)
        kept: dict[str, Any] = {}
        for keyword, value in schema.items():
            kept |= self._keyword(keyword, value, place, open_references)
        return self._completed(kept)

    def _referred(self, schema: Mapping[str, Any], place: str, opened: tuple[str, ...]) -> dict[str, Any]:
        target = schema["$ref"]
        found = _at(self._root, target) if isinstance(target, str) else None
        if found is None:
            return self._relaxed(place, f"the reference {str(target)[:80]!r} leads nowhere in the schema")
        if target in opened or len(opened) >= _MAX_REFERENCES:
            return self._relaxed(place, "it contains itself")
        merged = {**found, **{name: value for name, value in schema.items() if name != "$ref"}}
        return self.adapt(merged, place, (*opened, target))

    def _keyword(self, keyword: str, value: Any, place: str, opened: tuple[str, ...]) -> dict[str, Any]:
        """Return a keyword as draft 2020-12 and the planner know it; {} leaves it out."""
        if keyword in _VALUES:
            return {keyword: value}
        if keyword == "const":
            return {"enum": [value]}
        if keyword == "description" and isinstance(value, str):
            return {"description": one_line(value, _MAX_DESCRIPTION)}
        if keyword == "pattern":
            return self._pattern(value, place)
        return self._schemas(keyword, value, place, opened)

    def _schemas(self, keyword: str, value: Any, place: str, opened: tuple[str, ...]) -> dict[str, Any]:
        if keyword == "items" and isinstance(value, list):
            keyword = "prefixItems"
        if keyword == "oneOf":
            self._warn(place, "oneOf is checked as anyOf")
            keyword = "anyOf"
        if keyword in _LISTS and isinstance(value, list) and value:
            return {keyword: [self.adapt(part, f"{place}/{keyword}", opened) for part in value]}
        if keyword in _TABLES and isinstance(value, dict):
            return {
                keyword: {name: self.adapt(part, f"{place}/{name}", opened) for name, part in value.items()}
            }
        if keyword in _SCHEMAS:
            return {keyword: value if value is False else self.adapt(value, f"{place}/{keyword}", opened)}
        if keyword not in _NOTES:
            self._warn(place, f"{keyword[:40]} is not checked")
        return {}

    def _pattern(self, value: Any, place: str) -> dict[str, Any]:
        try:
            compile_pattern(value)
        except (ValueError, TypeError):
            self._warn(place, "pattern is not checked: it is not one of RE2's")
            return {}
        return {"pattern": value}

    def _completed(self, schema: dict[str, Any]) -> dict[str, Any]:
        """Return the schema with what its other keywords imply: the planner looks at types and members only."""
        if "type" not in schema and "enum" not in schema and "anyOf" not in schema:
            implied = "object" if "properties" in schema else "array" if "items" in schema else None
            schema = {"type": implied, **schema} if implied else schema
        if isinstance(schema.get("type"), list) and set(schema["type"]) <= {"null"}:
            schema["type"] = "null"
        if "properties" in schema and isinstance(schema.get("required"), list):
            members: dict[str, Any] = {name: {} for name in schema["required"] if isinstance(name, str)}
            schema["properties"] = {**members, **schema["properties"]}
        return schema

    def _relaxed(self, place: str, why: str) -> dict[str, Any]:
        self._warn(place, f"any value is accepted: {why}")
        return {}

    def _warn(self, place: str, message: str) -> None:
        warning = f"{place}: {message}"
        if warning not in self.warnings:
            self.warnings.append(warning)


def adapt(schema: Any, place: str) -> tuple[dict[str, Any], list[str]]:
    """Return a schema without references that our checker knows, and what it no longer checks.

    `place` begins each warning. Raises ValueError for a schema that is too large, too deep, or none at all.
    """
    if size_faults(schema) or len(json.dumps(schema)) > MAX_BYTES:
        raise ValueError(f"{place}: the schema is too large or too deep (at most {MAX_BYTES} bytes of JSON)")
    if not isinstance(schema, dict):
        raise ValueError(f"{place}: a JSON Schema must be an object")
    adapter = _Adapter(schema)
    adapted = adapter.adapt(schema, place)
    if wrong := schema_faults(adapted):
        raise ValueError(f"{place}: {wrong[0]}")
    return adapted, adapter.warnings


def adapt_inputs(schema: Any, place: str) -> tuple[dict[str, Any], list[str]]:
    """Return the schema of a tool's arguments, always an object with members; otherwise as `adapt`.

    Members that it does not name are refused unless it says otherwise.
    """
    adapted, warnings = adapt(schema, place)
    if adapted.get("type", "object") != "object":
        raise ValueError(f"{place}: the arguments of a tool must be an object")
    closed = (
        {}
        if "additionalProperties" in adapted or "properties" not in adapted
        else {"additionalProperties": False}
    )
    return {**adapted, "type": "object", "properties": {}, "required": [], **adapted, **closed}, warnings


def one_line(text: str, most: int) -> str:
    """Return a text on one line of at most `most` characters."""
    line = " ".join(text.split())
    return line if len(line) <= most else line[: most - 1] + "…"


def _at(root: Mapping[str, Any], target: str) -> dict[str, Any] | None:
    """Return the schema that a reference inside `root` points to."""
    if target != "#" and not target.startswith("#/"):
        return None
    node: Any = root
    for token in target.split("/")[1:]:
        name = token.replace("~1", "/").replace("~0", "~")
        node = node.get(name) if isinstance(node, dict) else None
    return node if isinstance(node, dict) else None
