"""The contract of an action: what its function's hints and docstring say."""

import json
from pathlib import Path
from typing import Any

import pytest

from orchestrator.llm.strict_schema import strict_schema
from orchestrator.models.arm_capability import Action, ArmCapability
from orchestrator.planner.catalogue import describe_actions
from orchestrator.rules.json_schema import faults
from orchestrator.rules.schema_check import schema_faults
from orchestrator.sdk.contracts import functions_of
from tests.contract_kit import contract, load

POINT = {
    "type": "object",
    "properties": {"x": {"type": "integer"}, "y": {"type": "number", "default": 1.5}},
    "required": ["x"],
    "additionalProperties": False,
}


@pytest.mark.parametrize(
    ("hint", "schema"),
    [
        ("str", {"type": "string"}),
        ("int", {"type": "integer"}),
        ("float", {"type": "number"}),
        ("bool", {"type": "boolean"}),
        ("None", {"type": "null"}),
        ("Any", {}),
        ("int | None", {"anyOf": [{"type": "integer"}, {"type": "null"}]}),
        ("list[int]", {"type": "array", "items": {"type": "integer"}}),
        ("list", {"type": "array", "items": {}}),
        ("set[str]", {"type": "array", "items": {"type": "string"}, "uniqueItems": True}),
        ("dict", {"type": "object", "additionalProperties": True}),
        ("dict[str, int]", {"type": "object", "additionalProperties": {"type": "integer"}}),
        ('Literal["a", "b"]', {"type": "string", "enum": ["a", "b"]}),
        ('Literal["a"]', {"type": "string", "const": "a"}),
        ("Color", {"type": "string", "enum": ["red", "blue"]}),
        ("date", {"type": "string", "format": "date"}),
        ("Decimal", {"anyOf": [{"type": "number"}, {"type": "string"}]}),
        ("Annotated[int, Field(ge=1, le=9)]", {"type": "integer", "minimum": 1, "maximum": 9}),
        ('Annotated[str, Field(pattern="^[a-z]+$")]', {"type": "string", "pattern": "^[a-z]+$"}),
        ('Annotated[str, Field(description="a city")]', {"type": "string", "description": "a city"}),
        ("Point", POINT),
        ("list[Point]", {"type": "array", "items": POINT}),
        (
            "Place",
            {
                "type": "object",
                "properties": {"name": {"type": "string"}, "at": POINT},
                "required": ["name"],
                "additionalProperties": False,
            },
        ),
        (
            "Order",
            {
                "type": "object",
                "properties": {
                    "item": {"type": "string", "maxLength": 5},
                    "at": {"anyOf": [POINT, {"type": "null"}], "default": None},
                },
                "required": ["item"],
                "additionalProperties": False,
            },
        ),
        (
            "Annotated[Cat | Dog, Field(discriminator='kind')]",
            {
                "anyOf": [
                    {
                        "type": "object",
                        "properties": {
                            "kind": {"type": "string", "const": "cat"},
                            "lives": {"type": "integer"},
                        },
                        "required": ["kind", "lives"],
                        "additionalProperties": False,
                    },
                    {
                        "type": "object",
                        "properties": {"kind": {"type": "string", "const": "dog"}},
                        "required": ["kind"],
                        "additionalProperties": False,
                    },
                ]
            },
        ),
    ],
)
def test_each_kind_of_hint_becomes_a_schema_without_references(
    tmp_path: Path, hint: str, schema: dict[str, Any]
) -> None:
    record = contract(tmp_path, f"value: {hint}")

    assert record["input_schema"] == {
        "type": "object",
        "properties": {"value": schema},
        "required": ["value"],
        "additionalProperties": False,
    }
    assert schema_faults(record["input_schema"]) == []


@pytest.mark.parametrize(
    ("hint", "schema"),
    [
        ("str", {"type": "string"}),
        ("None", {"type": "null"}),
        ("list[Point]", {"type": "array", "items": {**POINT, "required": ["x", "y"]}}),
        ("Point | None", {"anyOf": [{**POINT, "required": ["x", "y"]}, {"type": "null"}]}),
    ],
)
def test_an_output_that_is_no_object_is_the_member_value_of_one(
    tmp_path: Path, hint: str, schema: dict[str, Any]
) -> None:
    record = contract(tmp_path, returns=hint)

    assert record["output_schema"] == {
        "type": "object",
        "properties": {"value": schema},
        "required": ["value"],
        "additionalProperties": False,
    }


@pytest.mark.parametrize(
    ("hint", "properties", "required"),
    [
        ("Point", {"x", "y"}, {"x", "y"}),
        ("Order", {"item", "at"}, {"item", "at"}),
        ("Place", {"name", "at"}, {"name"}),
        ("dict[str, int]", set(), set()),
    ],
)
def test_an_object_is_the_output_itself_and_has_its_defaults(
    tmp_path: Path, hint: str, properties: set[str], required: set[str]
) -> None:
    schema = contract(tmp_path, returns=hint)["output_schema"]

    assert schema["type"] == "object"
    assert schema.get("properties", {}).keys() == properties
    assert set(schema.get("required", ())) == required


def test_descriptions_defaults_and_the_context_come_from_the_function(tmp_path: Path) -> None:
    module = load(
        tmp_path,
        '''
@action(effects="read", timeout_seconds=20, capabilities=["weather"], max_age_seconds=600, approval="ask")
async def forecast(city: str, days: int = 3, *, on: date = date(2026, 11, 28), context: Context) -> Point:
    """Says how the weather
    becomes.

    It asks a service.

    Args:
        city: its name,
            in English
        days (int): how many

    Returns:
        city: not a parameter
    """
''',
    )

    action = functions_of(module)["forecast"]

    assert action.context_name == "context"
    assert action.record["description"] == "Says how the weather becomes."
    assert action.record["input_schema"] == {
        "type": "object",
        "properties": {
            "city": {"type": "string", "description": "its name, in English"},
            "days": {"type": "integer", "description": "how many", "default": 3},
            "on": {"type": "string", "format": "date", "default": "2026-11-28"},
        },
        "required": ["city"],
        "additionalProperties": False,
    }
    stated = {name: value for name, value in action.record.items() if not name.endswith("_schema")}
    assert stated == {
        "description": "Says how the weather becomes.",
        "capabilities": ["weather"],
        "effects": "read",
        "idempotent": True,
        "deterministic": True,
        "attachments": "none",
        "timeout_seconds": 20.0,
        "max_age_seconds": 600,
        "least_tokens": 0,
        "approval": "ask",
    }


@pytest.mark.parametrize(
    ("given", "idempotent", "max_age_seconds"),
    [
        ('effects="none"', True, None),
        ('effects="read"', True, 0),
        ('effects="write"', False, 0),
        ('effects="write", idempotent=True', True, 0),
        ('effects="none", max_age_seconds=60', True, 60),
    ],
)
def test_what_is_not_stated_is_taken_from_the_effects(
    tmp_path: Path, given: str, *, idempotent: bool, max_age_seconds: int | None
) -> None:
    text = f'@action({given})\ndef act() -> str:\n    """Acts."""\n'

    record = functions_of(load(tmp_path, text))["act"].record

    assert (record["idempotent"], record["max_age_seconds"]) == (idempotent, max_age_seconds)


@pytest.mark.parametrize(("attachments", "name"), [("one", "attachment"), ("any", "attachments")])
def test_an_action_that_reads_files_lets_a_step_choose_them(
    tmp_path: Path, attachments: str, name: str
) -> None:
    record = contract(tmp_path, "word: str", given=f', attachments="{attachments}"')

    schema = record["input_schema"]
    one = "a" * 64
    assert schema["required"] == ["word"]
    assert faults(schema, {"word": "x", name: one if name == "attachment" else [one]}) == []
    assert faults(schema, {"word": "x", name: "b"}) != []


def test_records_make_actions_that_planners_and_providers_can_be_told_of(tmp_path: Path) -> None:
    records = {
        "act": contract(tmp_path, "order: Order, color: Color = Color.RED", returns="Point"),
        "any": contract(tmp_path, returns="dict[str, Any]"),
    }

    actions = {
        name: Action(name=name, **{**record, "capabilities": tuple(record["capabilities"])})
        for name, record in records.items()
    }
    arm = ArmCapability(
        "shop", "Shop", "Sells", ("act",), 1, "1.0.0", True, actions, "arm.shop", "arms", "threads", 4
    )
    told = describe_actions(["shop.act", "shop.any"], arms={"shop": arm})

    assert "shop.act(order: {item: string, at?: {x: integer, y?: number} or null}, color?: red|blue)" in told
    assert "-> x: integer, y: number" in told
    assert "shop.any()\n  -> any members" in told
    assert strict_schema(records["act"]["input_schema"]) is not None
    assert strict_schema(records["act"]["output_schema"]) is not None
    assert json.loads(json.dumps(records)) == records


def test_hints_may_be_texts_and_the_context_optional(tmp_path: Path) -> None:
    text = '@action(effects="none")\ndef act(n: "int", c: "Context | None" = None) -> list[int]:\n    """Acts."""\n'
    head = "from __future__ import annotations\nfrom orchestrator.sdk import Context, action\n"

    act = functions_of(load(tmp_path, text, head=head))["act"]

    assert act.context_name == "c"
    assert act.record["input_schema"]["properties"] == {"n": {"type": "integer"}}


def test_the_contract_of_a_default_without_order_is_the_same_in_each_process(tmp_path: Path) -> None:
    record = contract(tmp_path, 'words: frozenset[str] = frozenset({"b", "c", "a"})')

    assert record["input_schema"]["properties"]["words"]["default"] == ["a", "b", "c"]


def test_an_action_that_asks_models_is_not_deterministic(tmp_path: Path) -> None:
    assert contract(tmp_path, given=", least_tokens=500")["deterministic"] is False
    assert contract(tmp_path, given=", least_tokens=500, deterministic=True")["deterministic"] is True
