"""What a planning model is told about the arms' actions, and which of them it is told about when there are many."""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import groupby
from math import log
from typing import Any

from orchestrator.models.arm_capability import ARMS, Action, ArmCapability
from orchestrator.planner.plan_schema import ARTIFACT_PATTERN, is_open

MAX_ACTIONS = 40
"""Up to this number all actions are listed, so that the prompt never varies and providers can cache it."""
ESSENTIAL = ("retriever.search", "retriever.answer", "retriever.collect", "judge.verify")
"""Actions that nearly every plan needs, whatever the words of its goal."""
# members of outputs that plans seldom need, or that every output has
_LEFT_OUT = frozenset({"summary", "not_checked", "report_trusted", "report_note", "missing_dependencies"})
# inputs of many actions that the prompt explains once
_EXPLAINED = frozenset({"attachment", "attachments", "paths", "room"})
_WORD = re.compile(r"[^\W_]+")
_MIN_STEM = 4


def choose_actions(
    text: str,
    *,
    required: Collection[str] = (),
    arms: Mapping[str, ArmCapability] = ARMS,
    most: int = MAX_ACTIONS,
) -> tuple[str, ...]:
    """Return the names (`arm.action`) of at most `most` actions for a goal, in the registry's order.

    With more actions than that, ESSENTIAL ones come first, those whose arm or capability is `required` next, then
    those that share the rarest words with `text`. The same goal gets the same actions.
    """
    actions = {
        f"{arm.arm_id}.{action.name}": (arm, action)
        for arm in arms.values()
        if arm.in_plans
        for action in arm.actions.values()
    }
    if len(actions) <= most:
        return tuple(actions)
    words = {name: _stems(_searched(*pair)) for name, pair in actions.items()}
    wanted = _stems(text)
    weights = {
        word: log(len(words) / sum(word in own for own in words.values()))
        for own in words.values()
        for word in own
    }

    def rank(name: str) -> tuple[bool, bool, float]:
        arm, action = actions[name]
        is_required = bool({arm.arm_id, *action.capabilities} & set(required))
        return (
            name not in ESSENTIAL,
            not is_required,
            -sum(sorted(weights[word] for word in wanted & words[name])),
        )

    chosen = set(sorted(actions, key=rank)[:most])
    return tuple(name for name in actions if name in chosen)


def describe_actions(names: Sequence[str], *, arms: Mapping[str, ArmCapability] = ARMS) -> str:
    """Return the actions in full: inputs and outputs with their types, what they do, and what is checked anyway."""
    lines: list[str] = []
    outputs: dict[str, str] = {}
    for arm_id, group in groupby(names, key=lambda name: name.partition(".")[0]):
        lines.append(f"{arm_id}: {arms[arm_id].description}.")
        for name in group:
            action = arms[arm_id].actions[name.partition(".")[2]]
            output = _members(action.output_schema, left_out=_LEFT_OUT) or "any members"
            first = outputs.setdefault(output, name)
            lines += _lines(name, action, output if first == name else f"as {first}")
    return "\n".join(lines)


def _lines(name: str, action: Action, output: str) -> Iterator[str]:
    yield f" {name}({_members(action.input_schema)})"
    yield f"  -> {output}"
    for member, schema in action.input_schema.get("properties", {}).items():
        if member not in _EXPLAINED and "description" in schema:
            yield f"  {member}: {schema['description']}"
    checked = "; ".join(own["text"] for own in action.met)
    yield f"  {action.description}" + (f" Always checked: {checked}." if checked else "")


def _members(schema: Mapping[str, Any], *, left_out: Collection[str] = ()) -> str:
    required = schema.get("required", ())
    return ", ".join(
        f"{name}{'' if name in required else '?'}: {_type(member, name)}"
        for name, member in schema.get("properties", {}).items()
        if name not in left_out
    )


def _type(schema: Mapping[str, Any], name: str = "") -> str:
    if "anyOf" in schema:
        return " or ".join(_type(choice) for choice in schema["anyOf"])
    if schema.get("pattern") == ARTIFACT_PATTERN:
        return "file"
    if is_open(schema):
        return "check" if name == "check" else "object" if schema.get("type") == "object" else "any"
    if "enum" in schema:
        return "|".join(map(str, schema["enum"]))
    kinds = schema["type"]
    kind = kinds if isinstance(kinds, str) else next(kind for kind in kinds if kind != "null")
    if kind == "array":
        return f"[{_type(schema.get('items', {}))}]"
    if kind == "object" and schema.get("properties"):
        return f"{{{_members(schema)}}}"
    return kind + _bounds(schema) + (" or null" if "null" in kinds and kind != kinds else "")


def _bounds(schema: Mapping[str, Any]) -> str:
    if "maximum" in schema:
        return f" {schema.get('minimum', 0)}-{schema['maximum']}"
    return ""


def _searched(arm: ArmCapability, action: Action) -> str:
    return " ".join([arm.arm_id, action.name, action.description, *action.capabilities])


def _stems(text: str) -> set[str]:
    """Return the words of a text without the usual English endings, and without short words."""
    words = _WORD.findall(text.casefold().replace("_", " "))
    return {stem for word in words if len(stem := _stem(word)) >= _MIN_STEM}


def _stem(word: str) -> str:
    for ending in ("ations", "ation", "ings", "ing", "ies", "es", "ed", "s", "e", "y"):
        if word.endswith(ending) and len(word) - len(ending) >= _MIN_STEM:
            return word.removesuffix(ending)
    return word
