"""Reads a model's plan: undoes what the strict schema forced on it, and accepts usual ways to write the same."""

from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from typing import Any

from orchestrator.llm.strict_schema import without_nulls
from orchestrator.models.arm_capability import ARMS, Action, ArmCapability, canonical_arm
from orchestrator.models.errors import InvalidPlan
from orchestrator.planner.offers import split_name
from orchestrator.planner.plain_schema import plain_schema
from orchestrator.planner.plan_schema import is_open
from orchestrator.planner.references import (
    FILE,
    ITEM,
    POINTER,
    is_reference,
    items_in,
    references_in,
    step_of,
)


def read_steps(value: Mapping[str, Any], *, arms: Mapping[str, ArmCapability] = ARMS) -> list[dict[str, Any]]:
    """Return the steps of a value of PLAN_SCHEMA as check_plan reads them; `arms` are those that the plan may use.

    Nulls of inputs that may be left out are dropped, arrays of {name, value} become objects, and a last
    judge.verify that has nothing to check is left out. Raises InvalidPlan for a `flow` of a step that is not there.
    """
    steps = [_read_step(step, arms) for step in _with_flow(value)]
    return steps[:-1] if len(steps) > 1 and _checks_nothing(steps) else steps


def read_answer(value: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the reference to the answer in a value of PLAN_SCHEMA; None where the model names none."""
    answer = deepcopy(value.get("result"))
    for _, reference in references_in(answer):
        _correct_pointer(reference)
    return answer or None


def _with_flow(value: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the steps with the loops and conditions that the plan's `flow` gives them; raises InvalidPlan."""
    steps = deepcopy(value["steps"])
    known = {step["id"]: step for step in steps}
    for index, entry in enumerate(value.get("flow") or ()):
        if entry["step"] not in known:
            message = f"there is no step {entry['step'][:64]!r}"
            raise InvalidPlan(
                f"the plan breaks a rule: flow.{index}: {message}",
                details={"errors": [{"field": f"flow.{index}.step", "message": message}]},
            )
        known[entry["step"]] |= {name: entry.get(name) for name in ("for_each", "when") if entry.get(name)}
    return list(steps)


def _read_step(step: dict[str, Any], arms: Mapping[str, ArmCapability]) -> dict[str, Any]:
    arm, action = split_name(step["action"], arms)
    if arm and canonical_arm(arm) == canonical_arm(step.get("arm") or arm):
        step |= {"arm": canonical_arm(arm), "action": action}
    if isinstance(step.get("for_each"), dict):
        _correct_pointer(step["for_each"])
    if "when" in step:
        step["when"] = _when_of(step["when"])
    offer = _action_of(step, arms)
    if offer is None or "inputs" not in step:
        return step
    schema = plain_schema(offer.input_schema)
    inputs = without_nulls(_object_of(step["inputs"]) or {}, schema)
    members = schema.get("properties", {})
    step["inputs"] = {name: _read_input(item, members.get(name, {})) for name, item in inputs.items()}
    for _, reference in references_in(step["inputs"]):
        _correct_pointer(reference)
    for _, item in items_in(step["inputs"]):
        if isinstance(item[ITEM], str) and item[ITEM] and not item[ITEM].startswith("/"):
            item[ITEM] = f"/{item[ITEM]}"
    return step


def _when_of(value: Any) -> Any:
    """Return the rule of a {step, check}; anything else as it is."""
    if isinstance(value, dict) and isinstance(value.get("check"), dict):
        return {"step": value.get("step"), **value["check"]}
    return value


def _action_of(step: Mapping[str, Any], arms: Mapping[str, ArmCapability]) -> Action | None:
    """Return the step's action, of the first arm that has it if the step names none; None if it is unknown."""
    named = canonical_arm(step["arm"]) if step.get("arm") else None
    return next(
        (
            arm.actions[step["action"]]
            for arm in arms.values()
            if arm.in_plans and step["action"] in arm.actions and named in (None, arm.arm_id)
        ),
        None,
    )


def _read_input(value: Any, schema: Mapping[str, Any]) -> Any:
    if is_open(schema):
        return _object_of(value)
    items = schema.get("items")
    if not isinstance(value, list) or not isinstance(items, Mapping):
        return value
    if "check" in items.get("properties", ()):
        return [_check_of(item) for item in value]
    return value


def _object_of(value: Any) -> Any:
    """Return the object that an array of {name, value} stands for; anything else as it is."""
    if not isinstance(value, list) or not value:
        return value
    pairs = [(item["name"], item["value"]) for item in value if _is_pair(item)]
    return dict(pairs) if len({name for name, _ in pairs}) == len(value) else value


def _is_pair(item: Any) -> bool:
    return isinstance(item, dict) and item.keys() == {"name", "value"} and isinstance(item["name"], str)


def _check_of(item: Any) -> Any:
    """Return {text, check} for a rule that stands where such an object belongs."""
    if not isinstance(item, dict) or "check" in item or is_reference(item):
        return item
    rule = {name: value for name, value in item.items() if name != "text"}
    return {**({"text": item["text"]} if item.get("text") else {}), "check": rule}


def _correct_pointer(reference: dict[str, Any]) -> None:
    named = reference.get(FILE)
    if isinstance(named, dict):
        # the strict schema knows no member that may be left out
        reference[FILE] = {name: value for name, value in named.items() if value}
    pointer = reference.get(POINTER, "")
    if pointer is None:
        del reference[POINTER]
    elif isinstance(pointer, str) and pointer and not pointer.startswith("/"):
        reference[POINTER] = f"/{pointer}"


def _checks_nothing(steps: Sequence[Mapping[str, Any]]) -> bool:
    """Tell whether the last step is a judge.verify without checks and citations that no other step names."""
    *earlier, last = steps
    return (
        (last.get("arm", "judge"), last["action"]) == ("judge", "verify")
        and not last.get("inputs", {}).keys() & {"check", "checks", "citations"}
        and last["id"] not in _named_by(earlier)
    )


def _named_by(steps: Sequence[Mapping[str, Any]]) -> Iterator[Any]:
    for step in steps:
        yield from step.get("depends_on", ())
        yield from (step_of(reference) for _, reference in references_in(step.get("inputs", {})))
