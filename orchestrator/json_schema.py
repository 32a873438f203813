"""Checks values against JSON Schemas that others wrote: offline, bounded, without repeating the value."""

from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError, ValidationError
from jsonschema.validators import extend
from referencing import Registry
from referencing.exceptions import Unresolvable

from orchestrator.pattern import compile_pattern

MAX_FAULTS = 20
MAX_SCHEMA_OBJECTS = 500
MAX_REFERENCES = 2_000
"""How many `$ref` one check follows: nested references can double at each level."""

# the references that the check of this thread has followed so far
_followed: ContextVar[list[int]] = ContextVar("followed")


@dataclass(frozen=True)
class Fault:
    """One thing wrong with a value: where (keys and indexes), which keyword says so, and in words."""

    path: tuple[str | int, ...]
    keyword: str
    message: str
    value: Any = None


class _TooManyReferences(Exception):
    """The schema refers to itself more often than we follow."""


def schema_faults(schema: Any) -> list[str]:
    """Return what is wrong with a schema itself; empty when it can be used."""
    if not isinstance(schema, (dict, bool)):
        return ["a JSON Schema must be an object"]
    if sum(1 for _ in _objects(schema)) > MAX_SCHEMA_OBJECTS:
        return [f"a JSON Schema may hold at most {MAX_SCHEMA_OBJECTS} objects"]
    try:
        Draft202012Validator.check_schema(schema)
    except (SchemaError, RecursionError) as fault:
        place = ".".join(str(part) for part in getattr(fault, "absolute_path", ()))
        return [f"not a JSON Schema (draft 2020-12){' at ' + place if place else ''}"]
    return [*_reference_faults(schema), *_pattern_faults(schema)]


def faults(schema: Mapping[str, Any] | bool, value: Any) -> list[Fault]:
    """Return what is wrong with `value`, at most MAX_FAULTS; a schema that can't be followed is a fault."""
    found: list[Fault] = []
    counting = _followed.set([])
    try:
        # an empty registry: jsonschema's own would fetch remote references over the network
        for error in _Validator(schema, registry=Registry()).iter_errors(value):
            found.append(
                Fault(tuple(error.absolute_path), str(error.validator), _words(error), error.instance)
            )
            if len(found) == MAX_FAULTS:
                break
    except (Unresolvable, RecursionError, _TooManyReferences, ValueError):
        found.append(Fault((), "$ref", "the schema can't be followed: a reference leads nowhere or too deep"))
    finally:
        _followed.reset(counting)
    return found


def _reference(validator: Any, target: Any, instance: Any, within: Any) -> Iterator[ValidationError]:
    followed = _followed.get()
    followed.append(1)
    if len(followed) > MAX_REFERENCES:
        raise _TooManyReferences
    yield from Draft202012Validator.VALIDATORS["$ref"](validator, target, instance, within) or ()


def _pattern(_validator: Any, expression: Any, instance: Any, _schema: Any) -> Iterator[ValidationError]:
    if isinstance(instance, str) and not compile_pattern(expression).search(instance):
        yield ValidationError(f"does not match {expression!r}")


def _pattern_properties(validator: Any, patterns: Any, instance: Any, _: Any) -> Iterator[ValidationError]:
    if not isinstance(instance, dict):
        return
    for expression, schema in patterns.items():
        for name, value in instance.items():
            if compile_pattern(expression).search(name):
                yield from validator.descend(value, schema, path=name, schema_path=expression)


# made once: making a validator class costs 4 ms
_Validator: Any = extend(
    Draft202012Validator,
    {"$ref": _reference, "pattern": _pattern, "patternProperties": _pattern_properties},
)


def _reference_faults(schema: Any) -> list[str]:
    targets = {node["$ref"] for node in _objects(schema) if isinstance(node.get("$ref"), str)}
    outside = sorted(name for name in targets if not name.startswith("#"))
    found = [f"$ref {name[:80]!r} leads outside the schema" for name in outside]
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


def _words(error: ValidationError) -> str:
    match error.validator, error.validator_value:
        case "type", kinds:
            return f"must be of type {kinds if isinstance(kinds, str) else ' or '.join(kinds)}"
        case "required", names:
            return f"lacks {', '.join(repr(name) for name in names if name not in error.instance)}"
        case "additionalProperties", False:
            known = error.schema.get("properties", {})
            unknown = sorted(name for name in error.instance if name not in known)
            return f"has unknown members: {', '.join(repr(name[:64]) for name in unknown[:5])}"
        case "enum", values:
            return f"must be one of {', '.join(repr(value) for value in values)}"
        case keyword, limit if isinstance(limit, (str, int, float, bool)):
            return f"breaks {keyword} {limit!r}"
        case keyword, _:
            return f"breaks {keyword}"
