"""Evaluates the machine checks of acceptance criteria: rules over the outputs of steps, with evidence.

A rule is {"all_steps_done": true}, {"output_schema": JSON Schema of the result}, or a place with conditions on its
value: {"step": id, "pointer": JSON pointer, OPERATION: operand, ...}. Operations: equals, not_equals, at_least,
at_most, contains, matches (RE2, anywhere in the text), exists, schema, same_as ({"step", "pointer"} of another
place). Without "step" the place is in the output of the step that the rule belongs to, or in the result, which maps
the last steps' ids to their outputs.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from orchestrator.models.execution_state import StepState
from orchestrator.rules.json_pointer import follow, is_pointer
from orchestrator.rules.json_schema import faults
from orchestrator.rules.pattern import compile_pattern
from orchestrator.rules.schema_check import schema_faults

MAX_MATCHED_CHARACTERS = 100_000
MAX_SHOWN_CHARACTERS = 120
# a step behind a failed one is skipped too, but then the failed one is not done
_FINISHED = (StepState.DONE, StepState.SKIPPED)


@dataclass(frozen=True)
class CheckOutcome:
    """Whether a rule is met, why, and the evidence."""

    met: bool
    explanation: str
    evidence: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True)
class CheckContext:
    """The values that rules are checked against; `step` is the id of the step that the rule belongs to, if any."""

    outputs: Mapping[str, Any]
    states: Mapping[str, StepState] = field(default_factory=dict)
    result: Any = None
    step: str | None = None


class _Missing(Exception):
    """There is no value at the place of a rule."""


def validate_rule(rule: Any) -> list[str]:
    """Return what is wrong with a rule; an empty list if it is valid."""
    if not isinstance(rule, Mapping):
        return ["a check must be an object"]
    if "all_steps_done" in rule:
        return (
            []
            if dict(rule) == {"all_steps_done": True}
            else ["all_steps_done must be true and the only member"]
        )
    if "output_schema" in rule:
        alone = [] if len(rule) == 1 else ["output_schema must be the only member"]
        return alone + schema_faults(rule["output_schema"])
    wrong = _place_faults(rule)
    wrong += [
        f"unknown member {str(name)[:64]!r}" for name in rule if name not in {"step", "pointer", *_OPERATIONS}
    ]
    named = [name for name in _OPERATIONS if name in rule]
    if not named:
        wrong.append(f"names no operation: {', '.join(_OPERATIONS)}, or all_steps_done or output_schema")
    return wrong + [message for name in named for message in _operand_faults(name, rule[name])]


def schemas_of(rules: Iterable[Any]) -> Iterator[Any]:
    """Yield the JSON Schemas in rules, valid or not."""
    for rule in rules:
        if isinstance(rule, Mapping):
            yield from (rule[name] for name in ("schema", "output_schema") if name in rule)


def steps_named(rule: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the steps that a rule names."""
    other = rule.get("same_as")
    named = [rule.get("step"), other.get("step") if isinstance(other, Mapping) else None]
    return tuple(dict.fromkeys(name for name in named if isinstance(name, str)))


def steps_read(rule: Mapping[str, Any], *, own: str | None = None) -> tuple[str, ...]:
    """Return the steps whose outputs decide a rule of step `own`, or of the result, where its pointer names them."""
    places = [rule, rule["same_as"]] if isinstance(rule.get("same_as"), Mapping) else [rule]
    read = [place.get("step", own) or _step_in_result(place) for place in places]
    return tuple(dict.fromkeys(name for name in read if name))


def _step_in_result(place: Mapping[str, Any]) -> str | None:
    """Return the first token of a place's pointer into the result, which is the id of a last step."""
    return next(iter(place.get("pointer", "").split("/")[1:]), None)


def check(rule: Mapping[str, Any], context: CheckContext) -> CheckOutcome:
    """Check a valid rule; a missing value meets none but `exists: false`."""
    if "all_steps_done" in rule:
        return _check_all_done(context)
    if "output_schema" in rule:
        return check_schema(rule["output_schema"], context.result)
    place = _place_name(rule, context)
    try:
        value = _value_at(rule, context)
    except _Missing as missing:
        met = rule.get("exists") is False and not set(rule) - {"step", "pointer", "exists"}
        return CheckOutcome(met, str(missing), [{"place": place, "value": None}])
    evidence = [{"place": place, "value": _shown(value)}]
    for name, operation in _OPERATIONS.items():
        if name in rule and (objection := operation(value, rule[name], context)):
            return CheckOutcome(False, f"{place} is {_shown(value)}: {objection}", evidence)
    held = ", ".join(f"{name} {_shown(rule[name])}" for name in _OPERATIONS if name in rule)
    return CheckOutcome(True, f"{place} is {_shown(value)}, as required ({held})", evidence)


def check_schema(schema: Mapping[str, Any], value: Any) -> CheckOutcome:
    """Check whether `value` matches a JSON Schema."""
    found = [
        f"{'/'.join(map(str, fault.path)) or 'the result'} {fault.message}" for fault in faults(schema, value)
    ]
    if found:
        return CheckOutcome(False, "; ".join(found[:5]), [{"fault": fault} for fault in found])
    return CheckOutcome(True, "the result matches the schema", [{"schema": "valid"}])


def _check_all_done(context: CheckContext) -> CheckOutcome:
    undone = [f"{name} ({state})" for name, state in context.states.items() if state not in _FINISHED]
    evidence = [{"step": name, "state": str(state)} for name, state in context.states.items()]
    if undone or not context.states:
        return CheckOutcome(False, f"not done: {', '.join(undone) or 'there are no steps'}", evidence)
    skipped = sum(state is StepState.SKIPPED for state in context.states.values())
    held = f"{len(context.states) - skipped} of {len(context.states)} steps are done"
    return CheckOutcome(True, held + (f", {skipped} skipped" if skipped else ""), evidence)


def _place_faults(rule: Mapping[str, Any]) -> list[str]:
    wrong = []
    if not isinstance(rule.get("step", ""), str):
        wrong.append("step must be the id of a step")
    if not is_pointer(rule.get("pointer", "")):
        wrong.append("pointer must be a JSON pointer (RFC 6901): empty, or starting with '/'")
    return wrong


def _operand_faults(name: str, operand: Any) -> list[str]:
    if name in ("at_least", "at_most"):
        return [] if _is_number(operand) else [f"{name} must be a number"]
    if name == "exists":
        return [] if isinstance(operand, bool) else ["exists must be true or false"]
    if name == "schema":
        return schema_faults(operand)
    if name == "same_as":
        if not isinstance(operand, Mapping) or set(operand) - {"step", "pointer"}:
            return ["same_as must be an object {step, pointer}"]
        return _place_faults(operand)
    return _pattern_faults(operand) if name == "matches" else []


def _pattern_faults(operand: Any) -> list[str]:
    if not isinstance(operand, str):
        return ["matches must be a string"]
    try:
        compile_pattern(operand)
    except ValueError as fault:
        return [f"matches: {fault}"]
    return []


def _value_at(place: Mapping[str, Any], context: CheckContext) -> Any:
    name = place.get("step", context.step)
    if name is not None and name not in context.outputs:
        raise _Missing(f"step {name} has no output: it is {context.states.get(name, 'not in the plan')}")
    try:
        return follow(context.result if name is None else context.outputs[name], place.get("pointer", ""))
    except LookupError as missing:
        raise _Missing(f"{_place_name(place, context)} is missing: {missing.args[0]}") from missing


def _place_name(place: Mapping[str, Any], context: CheckContext) -> str:
    return f"{place.get('step', context.step) or 'result'}:{place.get('pointer') or '/'}"


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= MAX_SHOWN_CHARACTERS else text[: MAX_SHOWN_CHARACTERS - 1] + "…"


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _same(one: Any, other: Any) -> bool:
    """Tell whether two JSON values are equal: true is not 1, but 1 is 1.0."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(_same(one[name], other[name]) for name in one)
    return bool(one == other)


def _contains(value: Any, wanted: Any) -> bool:
    if isinstance(value, (str, Mapping)):
        return isinstance(wanted, str) and wanted in value
    return isinstance(value, list) and any(_same(item, wanted) for item in value)


def _matches(value: Any, expression: str) -> bool:
    return (
        isinstance(value, str)
        and compile_pattern(expression).search(value[:MAX_MATCHED_CHARACTERS]) is not None
    )


def _equals(value: Any, wanted: Any, _: CheckContext) -> str | None:
    return None if _same(value, wanted) else f"does not equal {_shown(wanted)}"


def _not_equals(value: Any, unwanted: Any, _: CheckContext) -> str | None:
    return f"equals {_shown(unwanted)}" if _same(value, unwanted) else None


def _at_least(value: Any, bound: Any, _: CheckContext) -> str | None:
    return None if _is_number(value) and value >= bound else f"is not at least {bound}"


def _at_most(value: Any, bound: Any, _: CheckContext) -> str | None:
    return None if _is_number(value) and value <= bound else f"is not at most {bound}"


def _has(value: Any, wanted: Any, _: CheckContext) -> str | None:
    return None if _contains(value, wanted) else f"does not contain {_shown(wanted)}"


def _matches_pattern(value: Any, expression: Any, _: CheckContext) -> str | None:
    return None if _matches(value, expression) else f"does not match {_shown(expression)}"


def _exists(_value: Any, wanted: Any, _: CheckContext) -> str | None:
    return None if wanted else "must not exist"


def _matches_schema(value: Any, schema: Any, _: CheckContext) -> str | None:
    outcome = check_schema(schema, value)
    return None if outcome.met else outcome.explanation


def _same_as(value: Any, place: Any, context: CheckContext) -> str | None:
    try:
        other = _value_at(place, context)
    except _Missing as missing:
        return str(missing)
    return None if _same(value, other) else f"but {_place_name(place, context)} is {_shown(other)}"


_OPERATIONS: Mapping[str, Callable[[Any, Any, CheckContext], str | None]] = {
    "equals": _equals,
    "not_equals": _not_equals,
    "at_least": _at_least,
    "at_most": _at_most,
    "contains": _has,
    "matches": _matches_pattern,
    "exists": _exists,
    "schema": _matches_schema,
    "same_as": _same_as,
}
