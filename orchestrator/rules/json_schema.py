"""Validates values by untrusted JSON Schemas: offline, with bounded work and without backtracking regexes."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError
from jsonschema.validators import extend
from referencing import Registry
from referencing.exceptions import Unresolvable

from orchestrator.rules.pattern import compile_pattern
from orchestrator.rules.schema_check import MAX_SCHEMA_OBJECTS

MAX_FAULTS = 20
MAX_FAULT_CHARACTERS = 300
MAX_WORK = 500_000
"""The most work of one validation, about 2 CPU seconds: references can double the work at each level."""

_STEP = 10
_SHOWN = 5
_left: ContextVar[list[int]] = ContextVar("work that is left for the current validation")
_shared: ContextVar[list[int]] = ContextVar("work that is left for all validations of a block")


@dataclass(frozen=True)
class SchemaFault:
    """One fault of a value: its path (keys and indexes), the violated keyword, and a message."""

    path: tuple[str | int, ...]
    keyword: str
    message: str
    value: Any = None


@contextmanager
def shared_work(amount: int = MAX_WORK) -> Iterator[None]:
    """Let all validations in the block have `amount` of work together; after that each is a fault."""
    counting = _shared.set([amount])
    try:
        yield
    finally:
        _shared.reset(counting)


class _TooMuchWork(Exception):
    """The validation has used up MAX_WORK."""


def faults(schema: Mapping[str, Any] | bool, value: Any, *, max_work: int = MAX_WORK) -> list[SchemaFault]:
    """Return the faults of `value`, at most MAX_FAULTS; an unresolvable schema is a fault too.

    `max_work` is at most MAX_WORK: less where somebody waits for the answer.
    """
    found: list[SchemaFault] = []
    shared = _shared.get([max_work])
    left = [min(max_work, shared[0])]
    given, counting = left[0], _left.set(left)
    try:
        # an empty registry: jsonschema's own would fetch remote references over the network
        for error in _Validator(schema, registry=Registry()).iter_errors(value):
            found.append(
                SchemaFault(tuple(error.absolute_path), str(error.validator), _message(error), error.instance)
            )
            if len(found) == MAX_FAULTS:
                break
    except _TooMuchWork:
        found.append(
            SchemaFault(
                (),
                "$schema",
                "validating the value takes too much work: make the value or the schema smaller",
            )
        )
    except (Unresolvable, RecursionError, ValueError):
        found.append(
            SchemaFault(
                (), "$ref", "the schema can't be applied: a reference can't be resolved or is too deep"
            )
        )
    finally:
        _left.reset(counting)
        shared[0] -= given - max(0, left[0])
    return found


def _spend(work: int) -> None:
    left = _left.get()
    left[0] -= work
    if left[0] < 0:
        raise _TooMuchWork


def _weight(value: Any) -> int:
    """Return the work of walking through a value or formatting it; at most what is left, plus 1."""
    total, most, waiting = 0, _left.get()[0] + 1, [value]
    while waiting and total <= most:
        node = waiting.pop()
        total += 1
        if isinstance(node, str):
            total += len(node) // 64
        elif isinstance(node, dict):
            total += sum(len(name) // 64 for name in node)
            waiting.extend(node.values())
        elif isinstance(node, list):
            waiting.extend(node)
    return total


_Check = Callable[[Any, Any, Any, Any], Iterable[ValidationError] | None]


def _counted(check: _Check) -> _Check:
    """Return a keyword's check that counts its work, including the formatting of the value in a fault."""

    def counting(validator: Any, operand: Any, instance: Any, schema: Any) -> Iterator[ValidationError]:
        _spend(1 + sum(len(side) // 8 for side in (operand, instance) if isinstance(side, (str, list, dict))))
        for error in check(validator, operand, instance, schema) or ():
            if not isinstance(error.validator, str):
                _spend(_weight(instance))
            yield error

    return counting


def _pattern(_validator: Any, expression: Any, instance: Any, _schema: Any) -> Iterator[ValidationError]:
    if isinstance(instance, str) and next(_matching(expression, [instance]), None) is None:
        yield ValidationError(f"does not match {expression!r}")


def _pattern_properties(validator: Any, patterns: Any, instance: Any, _: Any) -> Iterator[ValidationError]:
    if not isinstance(instance, dict):
        return
    for expression, schema in patterns.items():
        for name in _matching(expression, instance):
            yield from validator.descend(instance[name], schema, path=name, schema_path=expression)


def _additional_properties(
    validator: Any, others: Any, instance: Any, schema: Any
) -> Iterator[ValidationError]:
    if not isinstance(instance, dict):
        return
    for name in _additional(instance, schema):
        if others is False:
            yield ValidationError("has unknown members")
            return
        yield from validator.descend(instance[name], others, path=name)


def _unevaluated_properties(
    validator: Any, others: Any, instance: Any, schema: Any
) -> Iterator[ValidationError]:
    if not isinstance(instance, dict):
        return
    known = _evaluated_names(validator, instance, schema)
    if any(name not in known and not _is_valid(validator, instance[name], others) for name in instance):
        yield ValidationError("has members that no part of the schema allows")


def _unevaluated_items(validator: Any, others: Any, instance: Any, schema: Any) -> Iterator[ValidationError]:
    if not isinstance(instance, list):
        return
    known = _evaluated_places(validator, instance, schema)
    if any(
        place not in known and not _is_valid(validator, item, others) for place, item in enumerate(instance)
    ):
        yield ValidationError("has items that no part of the schema allows")


def _unique_items(_validator: Any, wanted: Any, instance: Any, _schema: Any) -> Iterator[ValidationError]:
    if wanted and isinstance(instance, list):
        _spend(_weight(instance))
        if len({_hash_key(item) for item in instance}) < len(instance):
            yield ValidationError("has equal items")


def _reference(validator: Any, target: Any, instance: Any, schema: Any) -> Iterable[ValidationError]:
    # an anchor, unlike a path, is searched in the whole schema
    _spend(0 if target.startswith("#/") else MAX_SCHEMA_OBJECTS)
    return Draft202012Validator.VALIDATORS["$ref"](validator, target, instance, schema) or ()


def _compared(check: _Check) -> _Check:
    """Return the check of enum, const or dependentRequired that counts the size of both sides."""

    def comparing(validator: Any, operand: Any, instance: Any, schema: Any) -> Iterable[ValidationError]:
        _spend(_weight(operand) + _weight(instance))
        return check(validator, operand, instance, schema) or ()

    return comparing


def _matching(expression: str, names: Iterable[str]) -> Iterator[str]:
    pattern = compile_pattern(expression)
    for name in names:
        # the time of RE2 is proportional to the text times the size of the compiled expression
        _spend(1 + len(name) * pattern.programsize // 256)
        if pattern.search(name):
            yield name


def _additional(instance: Mapping[str, Any], schema: Mapping[str, Any]) -> list[str]:
    names = [name for name in instance if name not in schema.get("properties", {})]
    for expression in schema.get("patternProperties", {}):
        matched = set(_matching(expression, names))
        names = [name for name in names if name not in matched]
    return names


def _is_valid(validator: Any, value: Any, schema: Any) -> bool:
    return next(validator.descend(value, schema), None) is None


def _applied(validator: Any, instance: Any, schema: Mapping[str, Any]) -> Iterator[tuple[Any, Any]]:
    """Yield (validator, schema) for each schema that `schema` applies to the same value and that accepts it."""
    if isinstance(target := schema.get("$ref"), str):
        found = validator._resolver.lookup(target)
        yield validator.evolve(schema=found.contents, _resolver=found.resolver), found.contents
    parts = [part for keyword in ("allOf", "anyOf", "oneOf") for part in schema.get(keyword, ())]
    if isinstance(instance, dict):
        parts += [part for name, part in schema.get("dependentSchemas", {}).items() if name in instance]
    if "if" in schema:
        held = _is_valid(validator, instance, schema["if"])
        parts += [schema["if"], schema.get("then", True)] if held else [schema.get("else", True)]
    yield from ((validator, part) for part in parts if _is_valid(validator, instance, part))


def _evaluated_names(
    validator: Any, instance: Mapping[str, Any], schema: Any, *, own: bool = True
) -> set[str]:
    """Return the members that a schema evaluates (JSON Schema core, 11.3)."""
    if not isinstance(schema, dict):
        return set()
    if "additionalProperties" in schema or ("unevaluatedProperties" in schema and not own):
        return set(instance)
    known = {name for name in schema.get("properties", {}) if name in instance}
    for expression in schema.get("patternProperties", {}):
        known |= set(_matching(expression, instance))
    for inner, part in _applied(validator, instance, schema):
        known |= _evaluated_names(inner, instance, part, own=False)
    return known


def _evaluated_places(validator: Any, instance: list[Any], schema: Any, *, own: bool = True) -> set[int]:
    """Return the indexes of the items that a schema evaluates (JSON Schema core, 11.2)."""
    if not isinstance(schema, dict):
        return set()
    if "items" in schema or ("unevaluatedItems" in schema and not own):
        return set(range(len(instance)))
    known = set(range(min(len(schema.get("prefixItems", ())), len(instance))))
    if "contains" in schema:
        known |= {n for n, item in enumerate(instance) if _is_valid(validator, item, schema["contains"])}
    for inner, part in _applied(validator, instance, schema):
        known |= _evaluated_places(inner, instance, part, own=False)
    return known


def _hash_key(value: Any) -> Any:
    """Return a hashable key that is equal for equal JSON values: true is not 1, but 1 is 1.0."""
    if isinstance(value, list):
        return ("list", *map(_hash_key, value))
    if isinstance(value, dict):
        return ("dict", frozenset((name, _hash_key(item)) for name, item in value.items()))
    return (isinstance(value, bool), value)


def _evolve(self: Any, **changes: Any) -> Any:
    """Return a validator of our class for a part; jsonschema would choose one by the part's own `$schema`."""
    _spend(_STEP)
    changes.setdefault("schema", self.schema)
    kept = {"_resolver": self._resolver, "format_checker": self.format_checker}
    return self.__class__(**{**kept, "registry": self._registry, **changes})


def _bounded_validator() -> Any:
    checks: dict[str, _Check] = {
        **Draft202012Validator.VALIDATORS,
        "$ref": _reference,
        "pattern": _pattern,
        "patternProperties": _pattern_properties,
        "additionalProperties": _additional_properties,
        "unevaluatedProperties": _unevaluated_properties,
        "unevaluatedItems": _unevaluated_items,
        "uniqueItems": _unique_items,
    }
    for keyword in ("enum", "const", "dependentRequired"):
        checks[keyword] = _compared(checks[keyword])
    validator: Any = extend(
        Draft202012Validator, {keyword: _counted(check) for keyword, check in checks.items()}
    )
    validator.evolve = _evolve
    return validator


# created once: creating a validator class takes 4 ms
_Validator: Any = _bounded_validator()


def _message(error: ValidationError) -> str:
    text = _full_message(error)
    return text if len(text) <= MAX_FAULT_CHARACTERS else text[: MAX_FAULT_CHARACTERS - 1] + "…"


def _full_message(error: ValidationError) -> str:
    match error.validator, error.validator_value:
        case "type", kinds:
            return f"must be of type {kinds if isinstance(kinds, str) else ' or '.join(kinds)}"
        case "required", names:
            return f"lacks {_listed(name for name in names if name not in error.instance)}"
        case "additionalProperties", False:
            return f"has unknown members: {_listed(sorted(_additional(error.instance, error.schema)))}"
        case "enum", values:
            return f"must be one of {_listed(values, most=20)}"
        case keyword, limit if isinstance(limit, (str, int, float, bool)):
            return f"breaks {keyword} {limit!r}"
        case keyword, _:
            return f"breaks {keyword}"


def _listed(values: Iterable[Any], *, most: int = _SHOWN) -> str:
    """Return the first `most` values as text, and the number of the others."""
    written = [_short(value) for value in values]
    more = f" and {len(written) - most} more" if len(written) > most else ""
    return ", ".join(written[:most]) + more


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 66 else text[:65] + "…"
