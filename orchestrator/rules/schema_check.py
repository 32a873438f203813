"""Checks an untrusted JSON Schema itself: valid, of bounded size, no outside references, no backtracking."""

from collections.abc import Iterable, Iterator
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError

from orchestrator.rules.pattern import compile_pattern

MAX_SCHEMA_OBJECTS = 500
MAX_SCHEMA_VALUES = 5_000
"""The most members and items of a schema, including those of `enum` and `required`."""
MAX_SCHEMA_DEPTH = 32
MAX_SCHEMAS = 20
"""The most schemas of one task or plan; all together may have MAX_TOGETHER objects."""
MAX_TOGETHER = 1_000


def schema_faults(schema: Any) -> list[str]:
    """Return what is wrong with a schema; an empty list if it is valid."""
    if not isinstance(schema, (dict, bool)):
        return ["a JSON Schema must be an object"]
    if large := size_faults(schema):
        return large
    try:
        Draft202012Validator.check_schema(schema)
    except (SchemaError, RecursionError) as fault:
        place = ".".join(str(part) for part in getattr(fault, "absolute_path", ()))
        return [f"not a JSON Schema (draft 2020-12){' at ' + place if place else ''}"]
    return [*_reference_faults(schema), *_pattern_faults(schema)]


def together_faults(schemas: Iterable[Any]) -> list[str]:
    """Return what is wrong with the number and the total size of one request's schemas."""
    count = total = 0
    for schema in schemas:
        count += 1
        for _ in _objects(schema):
            total += 1
            if total > MAX_TOGETHER:
                return [f"all JSON Schemas together may hold at most {MAX_TOGETHER} objects"]
    return [f"at most {MAX_SCHEMAS} JSON Schemas are allowed, not {count}"] if count > MAX_SCHEMAS else []


def size_faults(schema: Any) -> list[str]:
    """Return in what a schema is too large or too deep."""
    objects = values = 0
    waiting = [(schema, 1)]
    while waiting:
        node, depth = waiting.pop()
        values += 1
        objects += isinstance(node, dict)
        if depth > MAX_SCHEMA_DEPTH:
            return [f"a JSON Schema may be nested at most {MAX_SCHEMA_DEPTH} deep"]
        if objects > MAX_SCHEMA_OBJECTS:
            return [f"a JSON Schema may hold at most {MAX_SCHEMA_OBJECTS} objects"]
        if values > MAX_SCHEMA_VALUES:
            return [f"a JSON Schema may hold at most {MAX_SCHEMA_VALUES} members and items"]
        inner = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
        waiting.extend((part, depth + 1) for part in inner)
    return []


def _reference_faults(schema: Any) -> list[str]:
    targets = {node["$ref"] for node in _objects(schema) if isinstance(node.get("$ref"), str)}
    outside = sorted(name for name in targets if not name.startswith("#"))
    found = [f"$ref {name[:80]!r} points outside the schema" for name in outside]
    if any(isinstance(node.get("$dynamicRef"), str) for node in _objects(schema)):
        found.append("$dynamicRef is not supported")
    return found


def _pattern_faults(schema: Any) -> list[str]:
    found: list[str] = []
    for node in _objects(schema):
        properties = node.get("patternProperties")
        names = list(properties) if isinstance(properties, dict) else []
        for expression in [node.get("pattern"), *names]:
            if isinstance(expression, str):
                try:
                    compile_pattern(expression)
                except ValueError as fault:
                    found.append(f"pattern {expression[:80]!r}: {fault}")
    return found


def _objects(node: Any) -> Iterator[dict[str, Any]]:
    waiting = [node]
    while waiting:
        node = waiting.pop()
        if isinstance(node, dict):
            yield node
            waiting.extend(node.values())
        elif isinstance(node, list):
            waiting.extend(node)
