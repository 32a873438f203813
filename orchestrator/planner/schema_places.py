"""What can stand at a place of a value of a JSON Schema, and whether it can be a value of another; bounded work."""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from typing import Any

from orchestrator.planner.plain_schema import MAX_PARTS, plain_schema
from orchestrator.planner.same import Same

_INDEX = re.compile(r"0|[1-9][0-9]{0,8}")
_KEPT_SCHEMAS = 256
MAX_WORK = 300_000
"""How many schemas are compared for one plan, about half a CPU second. What is left then counts as fitting."""
# the work that is left for the current plan
_left: ContextVar[list[int]] = ContextVar("schemas that may still be compared for the current plan")


@contextmanager
def bounded_work() -> Iterator[None]:
    """Limit the work of all checks in the block to MAX_WORK: tenants write the schemas and the references."""
    counting = _left.set([MAX_WORK])
    try:
        yield
    finally:
        _left.reset(counting)


def has_work_left(amount: int = 1) -> bool:
    """Take some of the work that is left; False when there is none."""
    left = _left.get(None)
    if left is None:
        return True
    left[0] -= amount
    return left[0] > 0


def schemas_at(schema: Mapping[str, Any], path: Sequence[str]) -> list[Mapping[str, Any]]:
    """Return the schemas of what can stand at a path of a value of `schema`; empty if nothing ever can."""
    found: list[Mapping[str, Any]] = [_plain(Same(schema))] if has_work_left() else [{}]
    for name in path:
        if not has_work_left(sum(map(_size, found))):
            return [{}]
        found = [part for one in found for choice in choices_of(one) for part in _below(choice, name)]
    return found


def may_fit(given: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    """Tell whether some value of schema `given` can be a value of `wanted`, as far as types and members tell."""
    return not has_work_left(_size(given) + _size(wanted)) or any(
        not has_work_left() or _one_fits(one, other)
        for one in choices_of(given)
        for other in choices_of(wanted)
    )


def _one_fits(given: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    kinds, others = _kinds(given), _kinds(wanted)
    shared = kinds & others if kinds and others else {"any"}
    if shared == {"object"}:
        is_closed = given.get("additionalProperties") is False
        return not is_closed or set(wanted.get("required", ())) <= set(given.get("properties", ()))
    if shared == {"array"}:
        return may_fit(given.get("items", {}), wanted.get("items", {}))
    return bool(shared)


def _kinds(schema: Mapping[str, Any]) -> set[str]:
    """Return the types of a schema's values, null aside; integers count as numbers. Empty: any."""
    kinds: Any = schema.get("type", ())
    named: list[str] = [kinds] if isinstance(kinds, str) else list(kinds)
    return {"number" if kind == "integer" else kind for kind in named} - {"null"}


def described(schemas: Sequence[Mapping[str, Any]]) -> str:
    """Return the types of the schemas' values in words, for a message."""
    choices = [choice for schema in schemas for choice in choices_of(schema)]
    return " or ".join(dict.fromkeys(_words(choice) for choice in choices))


def _words(schema: Mapping[str, Any]) -> str:
    kind = "/".join(sorted(_kinds(schema))) or "anything"
    if kind == "array":
        return f"an array of {described([schema.get('items', {})])}"
    members = schema.get("required") or schema.get("properties")
    return f"{kind} with {', '.join(members)}" if members else kind


@lru_cache(maxsize=_KEPT_SCHEMAS)
def _plain(one: Same[Mapping[str, Any]]) -> Mapping[str, Any]:
    has_work_left(MAX_PARTS)
    return plain_schema(one.value)


def _size(schema: Mapping[str, Any]) -> int:
    """Return about how many choices a schema has."""
    return 1 + len(schema.get("anyOf", ()))


def choices_of(schema: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """Return the alternatives of a plain schema; itself if it has none."""
    return (
        [part for choice in schema["anyOf"] for part in choices_of(choice)] if "anyOf" in schema else [schema]
    )


def _below(schema: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    kinds = _kinds(schema)
    if not kinds:
        return [{}]
    found: list[Mapping[str, Any]] = []
    if "array" in kinds and _INDEX.fullmatch(name):
        found.append(schema.get("items", {}))
    if "object" in kinds:
        other = schema.get("additionalProperties", True)
        member = schema.get("properties", {}).get(name, other)
        found += [{}] if member is True else [member] if isinstance(member, Mapping) else []
    return found


def tokens_of(pointer: str) -> list[str]:
    """Return the parts of a JSON pointer."""
    return [token.replace("~1", "/").replace("~0", "~") for token in pointer.split("/")[1:]]
