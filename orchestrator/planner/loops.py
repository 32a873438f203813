"""Reads the members `for_each`, `max_items` and `when` of a step, and says what a step with for_each puts out."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

from orchestrator.models.arm_capability import Action
from orchestrator.models.loop import DEFAULT_ITEMS, MAX_ITEMS, MAX_ITEMS_OF_PLAN
from orchestrator.models.plan import PlanStep
from orchestrator.planner.plan_files import place_of
from orchestrator.planner.references import (
    FROM,
    ITEM,
    POINTER,
    fault_of,
    fault_of_item,
    is_reference,
    items_in,
    references_in,
)
from orchestrator.planner.same import Same
from orchestrator.planner.schema_places import choices_of, described, may_fit, schemas_at, tokens_of
from orchestrator.rules.check_rule import steps_named, validate_rule

_KEPT_ACTIONS = 256
Fault = tuple[str, str]
"""A dotted path in a step, and a message."""


def read_loop(record: Mapping[str, Any], found: list[Fault]) -> tuple[Any, int]:
    """Return a step's `for_each` and `max_items`; adds to `found` what is wrong with them."""
    source, limit = record.get("for_each"), record.get("max_items", DEFAULT_ITEMS)
    if not isinstance(limit, int) or isinstance(limit, bool) or not 1 <= limit <= MAX_ITEMS:
        found.append(("max_items", f"must be a whole number from 1 to {MAX_ITEMS:,}"))
        limit = DEFAULT_ITEMS
    if source is None:
        if "max_items" in record:
            found.append(("max_items", "belongs to a step with for_each"))
        return None, limit
    if is_reference(source) and FROM in source:
        if message := fault_of(source):
            found.append(("for_each", message))
            return None, limit
        return source, limit
    if not isinstance(source, list):
        found.append(
            ("for_each", 'must be a list, or a reference to one: {"$from": step, "pointer": "/member"}')
        )
        return None, limit
    if any(True for _ in references_in(source)):
        found.append(("for_each", "must hold values: refer to a whole list in place of its items"))
    if len(source) > limit:
        found.append(("for_each", _too_many(len(source), limit)))
    return source, limit


def read_when(record: Mapping[str, Any], found: list[Fault]) -> dict[str, Any] | None:
    """Return a step's `when`; adds to `found` what is wrong with it."""
    rule = record.get("when")
    if rule is None:
        return None
    messages = validate_rule(rule)
    if not messages and "step" not in rule:
        messages = ['must name an earlier step: {"step": id, "pointer": "/member", "equals": 1}']
    found += [("when", message) for message in messages]
    return None if messages else dict(rule)


def sources_of(step: PlanStep) -> list[str]:
    """Return the steps that a step's for_each and `when` read."""
    listed = [step.for_each[FROM]] if is_reference(step.for_each) else []
    return [*listed, *steps_named(step.when or {})]


def places_read(step: PlanStep) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield (member, reference) for the places in earlier outputs that a step's for_each and `when` read."""
    if is_reference(step.for_each):
        yield "for_each", step.for_each
    rule = step.when or {}
    if rule.get("exists") is not False:
        yield from (
            ("when", {FROM: place["step"], POINTER: place.get("pointer", "")})
            for place in (rule, rule.get("same_as"))
            if isinstance(place, Mapping) and "step" in place
        )


def item_form_faults(step: PlanStep) -> Iterator[Fault]:
    """Yield a fault for each malformed {"$item": ...}, and for each one where there is no item."""
    for member, inputs in (("inputs", step.inputs), ("repair_inputs", step.repair_inputs or {})):
        for path, value in items_in(inputs):
            place = ".".join([member, *map(str, path)])
            if step.for_each is None:
                yield place, f"{ITEM} is the item of a step with for_each, and this step has none"
            elif message := fault_of_item(value):
                yield place, message


def items_fault(steps: Iterable[PlanStep]) -> str | None:
    """Return that the steps of a plan have too many items together, or None."""
    most = sum(
        len(step.for_each) if isinstance(step.for_each, list) else step.max_items
        for step in steps
        if step.for_each is not None
    )
    if most <= MAX_ITEMS_OF_PLAN:
        return None
    return f"have up to {most:,} items in all, and at most {MAX_ITEMS_OF_PLAN:,} are allowed: lower max_items"


def too_many_items(step: str, count: int, limit: int) -> str:
    """Return the message that a list is longer than a step's max_items."""
    return f"for_each of step {step} " + _too_many(count, limit)


def _too_many(count: int, limit: int) -> str:
    raised = f"raise max_items (at most {MAX_ITEMS:,}), or " if count <= MAX_ITEMS else ""
    return f"has {count:,} items, and max_items is {limit:,}: {raised}let the step that makes the list return less"


def putting_out(step: PlanStep, action: Action) -> Action:
    """Return the action with the output that the step has: that of the action, or all of its items."""
    return action if step.for_each is None else _looped(Same(action))


def loop_faults(step: PlanStep, action: Action, sources: Mapping[str, Action]) -> Iterator[Fault]:
    """Yield why the step's list is none, and why a part of its item does not fit where its `action` takes it.

    `sources` are the actions of the steps that it depends on, as `putting_out` returns them.
    """
    if step.for_each is None:
        return
    lists: Sequence[Mapping[str, Any]] = []
    if is_reference(step.for_each):
        name, pointer = step.for_each[FROM], step.for_each.get(POINTER, "")
        lists = schemas_at(sources[name].output_schema, tokens_of(pointer)) if name in sources else []
        if not lists:
            return  # reported with the graph or the data flow
        if not any(may_fit(one, {"type": "array"}) for one in lists):
            yield (
                "for_each",
                f"must be a list, and {pointer or 'the output'} of step {name!r} is {described(lists)}",
            )
            return
    given = [choice.get("items", {}) for one in lists for choice in choices_of(one)] or [{}]
    for member, inputs in (("inputs", step.inputs), ("repair_inputs", step.repair_inputs or {})):
        for path, value in items_in(inputs):
            if fault_of_item(value):
                continue
            place = ".".join([member, *(str(part)[:64] for part in path)])
            if message := _item_fault(value[ITEM], given, schemas_at(action.input_schema, [*map(str, path)])):
                yield place, message


def _item_fault(
    pointer: str, given: Sequence[Mapping[str, Any]], wanted: Sequence[Mapping[str, Any]]
) -> str | None:
    parts = [part for one in given for part in schemas_at(one, tokens_of(pointer))]
    if not parts:
        return f"the items of for_each have no {pointer[:200]!r}: they are {described(given)}"
    if place_of(wanted) != "other":
        return None
    if wanted and not any(may_fit(one, other) for one in parts for other in wanted):
        return f"takes {described(wanted)}, and {pointer or 'the item'} is {described(parts)}"
    return None


@lru_cache(maxsize=_KEPT_ACTIONS)
def _looped(one: Same[Action]) -> Action:
    members = {
        "summary": {"type": "string"},
        "items": {"type": "array", "items": {"anyOf": [one.value.output_schema, {"type": "null"}]}},
        "count": {"type": "integer", "minimum": 0},
        "failed": {"type": "integer", "minimum": 0},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "index": {"type": "integer"},
                    "code": {"type": "string"},
                    "message": {"type": "string"},
                },
                "required": ["index", "code", "message"],
            },
        },
    }
    schema = {
        "type": "object",
        "properties": members,
        "required": list(members),
        "additionalProperties": False,
    }
    return replace(one.value, output_schema=schema)
