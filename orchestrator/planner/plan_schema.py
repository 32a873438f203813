"""The JSON Schemas of a model's plan: a short one that every answer must follow, and a strict one to be enforced."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

from orchestrator.llm.strict_schema import strict_schema
from orchestrator.models.arm_capability import Action
from orchestrator.models.plan import MAX_STEPS
from orchestrator.models.produced_file import ARTIFACT_PATTERN
from orchestrator.planner.plain_schema import plain_schema
from orchestrator.planner.same import Same

PLAN_SCHEMA: Mapping[str, Any] = {
    "type": "object",
    "properties": {
        "rationale": {"type": "string", "maxLength": 2_000},
        "confidence": {"type": "number", "minimum": 0, "maximum": 1},
        "result": {"type": ["object", "null"]},
        "flow": {
            "type": ["array", "null"],
            "items": {
                "type": "object",
                "properties": {
                    "step": {"type": "string"},
                    "for_each": {"type": ["object", "array", "null"]},
                    "when": {"type": ["object", "null"]},
                },
                "required": ["step"],
                "additionalProperties": False,
            },
        },
        "steps": {
            "type": "array",
            "minItems": 1,
            "maxItems": MAX_STEPS,
            "items": {
                "type": "object",
                "properties": {
                    "action": {"type": "string"},
                    "arm": {"type": "string", "maxLength": 128},
                    "id": {"type": "string"},
                    "description": {"type": "string"},
                    "inputs": {"type": "object"},
                    "depends_on": {"type": "array", "items": {"type": "string"}},
                    "for_each": {"type": ["object", "array", "null"]},
                    "when": {"type": ["object", "null"]},
                    "acceptance_criteria": {
                        "type": "array",
                        "items": {
                            "type": "object",
                            "properties": {"text": {"type": "string"}, "check": {"type": ["object", "null"]}},
                            "required": ["text"],
                            "additionalProperties": False,
                        },
                    },
                    "approval": {
                        "type": ["object", "null"],
                        "properties": {"ask": {"type": "string"}},
                        "required": ["ask"],
                        "additionalProperties": False,
                    },
                },
                "required": ["action", "id"],
                "additionalProperties": False,
            },
        },
    },
    "required": ["rationale", "confidence", "steps"],
    "additionalProperties": False,
}

_MIN_SHARED_CHARACTERS = 60
_KEPT_SCHEMAS = 8
_TEXT: Mapping[str, Any] = {"type": "string"}
_TEXTS: Mapping[str, Any] = {"type": "array", "items": _TEXT}
_SCALARS: Sequence[Mapping[str, Any]] = ({"type": "string"}, {"type": "number"}, {"type": "boolean"})
_REFERENCE: Mapping[str, Any] = {"$ref": "#/$defs/reference"}
_FILE: Mapping[str, Any] = {"$ref": "#/$defs/file"}
_RULE: Mapping[str, Any] = {"$ref": "#/$defs/rule"}
_NAMED: Mapping[str, Any] = {"$ref": "#/$defs/named_values"}
_APPROVAL: Mapping[str, Any] = {"type": "object", "properties": {"ask": _TEXT}, "required": ["ask"]}


def enforced_schema(actions: Mapping[str, Action]) -> Mapping[str, Any]:
    """Return the schema of a plan of these actions, by `arm.action`, in the subset that all providers enforce.

    A step is one alternative for each action, told apart by its first member `action` (OpenAI wants the first members
    of alternatives to differ), with the action's own inputs. All members are required; those that may be left
    out may be null. Any input value may be a reference. An open object is an array of {name, value}, because objects
    with any members can't be enforced: `orchestrator.planner.plan_answer` reads it.
    """
    return _enforced(tuple((name, Same(action)) for name, action in actions.items()))


@lru_cache(maxsize=_KEPT_SCHEMAS)
def _enforced(actions: tuple[tuple[str, Same[Action]], ...]) -> Mapping[str, Any]:
    strict = strict_schema(
        {
            "type": "object",
            "properties": {
                "rationale": _TEXT,
                "steps": {
                    "type": "array",
                    "items": {"anyOf": [_step(name, one.value) for name, one in actions]},
                },
                # once for the plan: each member of each step's alternatives is charged
                "flow": {"type": "array", "items": {"$ref": "#/$defs/flow"}},
                "result": {"anyOf": [_REFERENCE, {"type": "null"}]},
                "confidence": {"type": "number"},
            },
            "required": ["rationale", "steps", "flow", "result", "confidence"],
            "$defs": _definitions(),
        }
    )
    assert strict is not None  # noqa: S101  # `_alternatives` leaves nothing that the subset lacks
    return _shared(strict)


def is_open(schema: Mapping[str, Any]) -> bool:
    """Tell whether a schema accepts objects with any members."""
    return not schema.keys() & {"type", "enum", "const", "anyOf", "oneOf"} or (
        schema.get("type") == "object" and "properties" not in schema
    )


def _step(name: str, action: Action) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {
            "action": {"type": "string", "enum": [name]},
            "id": _TEXT,
            "description": _TEXT,
            "inputs": _inputs(plain_schema(action.input_schema)),
            "depends_on": _TEXTS,
            "acceptance_criteria": {"$ref": "#/$defs/criteria"},
            # each member of each alternative is charged; nobody needs to be asked about what changes nothing
            **({"approval": _APPROVAL} if action.effects == "write" else {}),
        },
        "required": [
            "action",
            "id",
            "description",
            "inputs",
            "depends_on",
            "acceptance_criteria",
        ],
    }


def _inputs(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    if "properties" not in schema and schema.get("additionalProperties") is not False:
        return _NAMED
    members = schema.get("properties", {})
    return {
        "type": "object",
        "properties": {
            name: _any_of([*_alternatives(member, name), *_references(member)])
            for name, member in members.items()
        },
        "required": schema.get("required", []),
    }


def _alternatives(schema: Mapping[str, Any], name: str = "") -> list[Mapping[str, Any]]:
    """Return schemas of the strict subset that together accept what `schema` accepts, without references to steps."""
    if "anyOf" in schema:
        return [choice for part in schema["anyOf"] for choice in _alternatives(part)]
    if is_open(schema):
        if name == "check":
            return [_RULE]
        return [_NAMED] if schema.get("type") == "object" else [_NAMED, *_SCALARS]
    kinds = schema.get("type")
    if isinstance(kinds, list) and {"object", "array"} & set(kinds):
        return [choice for kind in kinds for choice in _alternatives({**schema, "type": kind})]
    if schema.get("type") == "array":
        items = schema.get("items", {})
        return [{"type": "array", "items": _any_of([*_alternatives(items), *_references(items)])}]
    if schema.get("type") == "object":
        members = {
            member: _any_of(_alternatives(part, member)) for member, part in schema["properties"].items()
        }
        return [{"type": "object", "properties": members, "required": schema.get("required", [])}]
    return [{word: schema[word] for word in ("type", "enum") if word in schema}]


def _references(schema: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the schema of a reference: of one to a file where the value names files."""
    if schema.get("pattern") == ARTIFACT_PATTERN:
        return [_FILE]
    return [] if schema.get("items", {}).get("pattern") == ARTIFACT_PATTERN else [_REFERENCE]


def _any_of(choices: Iterable[Mapping[str, Any]]) -> Mapping[str, Any]:
    different: list[Mapping[str, Any]] = []
    different += [choice for choice in choices if choice not in different]
    return different[0] if len(different) == 1 else {"anyOf": different}


def _definitions() -> dict[str, Any]:
    value, source = {"anyOf": [_REFERENCE, *_SCALARS]}, _object({"$from": _TEXT, "pointer": _TEXT})
    return {
        "reference": {"anyOf": [source, _object({"$item": _TEXT})]},
        "flow": {
            "type": "object",
            "properties": {
                "step": _TEXT,
                "for_each": source,
                "when": _object({"step": _TEXT, "check": _RULE}),
            },
            "required": ["step"],
        },
        "file": _object({"$file": _object({"from": _TEXT, "name": _TEXT})}),
        "named_values": {"type": "array", "items": _object({"name": _TEXT, "value": value})},
        "criteria": {
            "type": "array",
            "items": {"type": "object", "properties": {"text": _TEXT, "check": _RULE}, "required": ["text"]},
        },
        "rule": {
            "anyOf": [
                _object({operation: operand, "pointer": _TEXT})
                for operation, operand in (
                    ("equals", {"anyOf": [*_SCALARS]}),
                    ("not_equals", {"anyOf": [*_SCALARS]}),
                    ("at_least", {"type": "number"}),
                    ("at_most", {"type": "number"}),
                    ("contains", _TEXT),
                    ("matches", _TEXT),
                    ("exists", {"type": "boolean"}),
                    ("same_as", _object({"pointer": _TEXT})),
                )
            ]
        },
    }


def _object(members: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": dict(members), "required": list(members)}


def _shared(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return the schema with each longer part that occurs several times as a definition: providers charge its text."""
    counts = Counter(map(_text_of, _parts(schema)))
    names = {
        text: f"part{number}"
        for number, text in enumerate(
            text for text, count in counts.items() if count > 1 and len(text) >= _MIN_SHARED_CHARACTERS
        )
    }
    written = _referring(schema, names)
    added = {name: _referring(json.loads(text), names) for text, name in names.items()}
    return {**written, "$defs": {**written["$defs"], **added}}


def _referring(schema: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """Return the schema with references in place of the named parts in it."""

    def part(one: Mapping[str, Any]) -> dict[str, Any]:
        name = names.get(_text_of(one))
        return {"$ref": f"#/$defs/{name}"} if name else _referring(one, names)

    written = dict(schema)
    for word in ("properties", "$defs"):
        if word in schema:
            written[word] = {name: part(one) for name, one in schema[word].items()}
    if "anyOf" in schema:
        written["anyOf"] = [part(one) for one in schema["anyOf"]]
    if "items" in schema:
        written["items"] = part(schema["items"])
    return written


def _parts(schema: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield all schemas in a schema, at any depth."""
    below = [
        *schema.get("properties", {}).values(),
        *schema.get("$defs", {}).values(),
        *schema.get("anyOf", ()),
    ]
    for part in [*below, *([schema["items"]] if "items" in schema else [])]:
        yield part
        yield from _parts(part)


def _text_of(schema: Mapping[str, Any]) -> str:
    return json.dumps(schema)
