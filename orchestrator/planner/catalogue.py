"""What a planning model is told about the arms' actions, and which of them it is told about when there are many."""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from math import log
from typing import Any

from orchestrator.models.arm_capability import ARMS, Action, ArmCapability
from orchestrator.models.produced_file import ARTIFACT_PATTERN
from orchestrator.models.task_contract import EFFECTS
from orchestrator.planner.plain_schema import plain_schema
from orchestrator.planner.plan_schema import is_open

MAX_ACTIONS = 40
"""Up to this number all actions are listed, so that the prompt never varies and providers can cache it."""
MAX_TEXT_CHARACTERS = 400
MAX_NAME_CHARACTERS = 64
MAX_MEMBERS = 40
MAX_DEPTH = 6
_BY_OTHERS = frozenset({"http", "mcp"})
ESSENTIAL = ("retriever.search", "retriever.answer", "retriever.collect", "judge.verify")
"""Actions that nearly every plan needs, whatever the words of its goal."""
# members of outputs that plans seldom need, or that every output has
_LEFT_OUT = frozenset(
    (
        "summary",
        "lock",
        "platform",
        "refused",
        "not_checked",
        "report_trusted",
        "report_note",
        "missing_dependencies",
        "unread_places",
        "left_out",
        "matched",
        "parts",
        "unproved_reason",
    )
)
# inputs of many actions that the prompt explains once
_EXPLAINED = frozenset({"attachment", "attachments", "paths", "room", "text", "save_as"})
_WORD = re.compile(r"[^\W_]+")
_MIN_STEM = 4


def choose_actions(
    text: str,
    *,
    required: Collection[str] = (),
    arms: Mapping[str, ArmCapability] = ARMS,
    effects: str = EFFECTS[-1],
    most: int = MAX_ACTIONS,
) -> dict[str, Action]:
    """Return at most `most` actions for a goal by their names (`arm.action`), in the registry's order.

    Only those with `effects` at most are told, and no question to a person: only a client knows who is there to answer.
    With more actions than `most`, ESSENTIAL ones come first, those whose arm or capability is `required` next, then
    those that share the rarest words with `text`. The same goal gets the same actions.
    """
    actions = {
        f"{arm.arm_id}.{action.name}": (arm, action)
        for arm in arms.values()
        if arm.in_plans and arm.has_workers
        for action in arm.actions.values()
        if EFFECTS.index(action.effects) <= EFFECTS.index(effects)
    }
    if len(actions) <= most:
        return {name: action for name, (_, action) in actions.items()}
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
    return {name: action for name, (_, action) in actions.items() if name in chosen}


def by_others(names: Iterable[str], *, arms: Mapping[str, ArmCapability] = ARMS) -> set[str]:
    """Return the names of the actions whose descriptions somebody else wrote: those of tools and of other servers."""
    return {
        f"{arm.arm_id}.{action}"
        for arm in arms.values()
        if arm.kind in _BY_OTHERS or arm.tenant is not None
        for action in arm.actions
    } & set(names)


def describe_actions(names: Collection[str], *, arms: Mapping[str, ArmCapability] = ARMS) -> str:
    """Return the actions in full: inputs and outputs with their types, what they do, and what is checked anyway.

    Each text is on one line, without control characters, and cut at MAX_TEXT_CHARACTERS.
    """
    lines: list[str] = []
    outputs: dict[str, str] = {}
    for arm in arms.values():
        told = [action for action in arm.actions.values() if f"{arm.arm_id}.{action.name}" in names]
        if told:
            lines.append(f"{arm.arm_id}: {_text(arm.description).removesuffix('.')}.")
        for action in told:
            name = f"{arm.arm_id}.{action.name}"
            output = _members(plain_schema(action.output_schema), left_out=_LEFT_OUT) or "nothing"
            first = outputs.setdefault(output, name)
            lines += _lines(name, action, output if first == name else f"as {first}")
    return "\n".join(lines)


def _lines(name: str, action: Action, output: str) -> Iterator[str]:
    schema = plain_schema(action.input_schema)
    yield f" {name}({_members(schema)})"
    yield f"  -> {output}"
    for member, part in [*schema.get("properties", {}).items()][:MAX_MEMBERS]:
        if member not in _EXPLAINED and "description" in part:
            yield f"  {_text(member, MAX_NAME_CHARACTERS)}: {_text(part['description'])}"
    checked = "; ".join(own["text"] for own in action.met)
    notes = [
        *([f"Always checked: {checked}."] if checked else []),
        *(["It changes something outside."] if action.effects == "write" else []),
        *(["A person must approve each step of it."] if action.approval == "ask" else []),
    ]
    yield " ".join([f"  {_text(action.description)}", *notes])


def _members(schema: Mapping[str, Any], *, left_out: Collection[str] = (), depth: int = MAX_DEPTH) -> str:
    required = schema.get("required", ())
    if "properties" not in schema:
        return "" if schema.get("additionalProperties") is False else "any members"
    names = [name for name in schema["properties"] if name not in left_out]
    told = [
        f"{_text(name, MAX_NAME_CHARACTERS)}{'' if name in required else '?'}: "
        f"{_type(schema['properties'][name], name, depth=depth)}"
        for name in names[:MAX_MEMBERS]
    ]
    return ", ".join([*told, *(["..."] if len(names) > MAX_MEMBERS else [])])


def _text(text: object, most: int = MAX_TEXT_CHARACTERS) -> str:
    """Return a text on one line, without control and format characters, cut at `most` characters."""
    shown = "".join(one if one.isprintable() else " " for one in str(text)[: 4 * most])
    line = " ".join(shown.split())
    return line if len(line) <= most else f"{line[: most - 1]}…"


def _type(schema: Mapping[str, Any], name: str = "", *, depth: int = MAX_DEPTH) -> str:
    if depth == 0:
        return "any"
    if "anyOf" in schema:
        return " or ".join(_type(choice, depth=depth - 1) for choice in schema["anyOf"][:MAX_MEMBERS])
    if ARTIFACT_PATTERN in (schema.get("pattern"), _id_of_file(schema)):
        return "file"
    if is_open(schema):
        return "check" if name == "check" else "object" if schema.get("type") == "object" else "any"
    if "enum" in schema:
        return "|".join(_text(value, MAX_NAME_CHARACTERS) for value in schema["enum"][:MAX_MEMBERS])
    kinds = schema["type"]
    kind = kinds if isinstance(kinds, str) else next(kind for kind in kinds if kind != "null")
    if kind == "array":
        return f"[{_type(schema.get('items', {}), depth=depth - 1)}]"
    if kind == "object" and schema.get("properties"):
        return f"{{{_members(schema, depth=depth - 1)}}}"
    return kind + _bounds(schema) + (" or null" if "null" in kinds and kind != kinds else "")


def _id_of_file(schema: Mapping[str, Any]) -> Any:
    """Return the pattern of the member `artifact_id`, which objects that name a file have."""
    return schema.get("properties", {}).get("artifact_id", {}).get("pattern")


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
