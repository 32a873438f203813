"""Validation by any client's JSON Schema takes bounded time and agrees with the reference implementation."""

import time
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError

from orchestrator.rules.json_schema import MAX_FAULT_CHARACTERS, MAX_FAULTS, faults
from orchestrator.rules.schema_check import MAX_SCHEMAS, schema_faults, together_faults

_EVIL = "^(a+)+$"
_LONG = "a" * 64 + "!"
_HANG_SECONDS = 20.0


def doubling(levels: int) -> dict[str, Any]:
    """Return a schema in which each level refers twice to the next."""
    names = [f"#/$defs/a{level + 1}" for level in range(levels)]
    defs: dict[str, Any] = {
        f"a{level}": {"allOf": [{"$ref": name}, {"$ref": name}]} for level, name in enumerate(names)
    }
    return {"$defs": {**defs, f"a{levels}": {"type": "string"}}, "$ref": "#/$defs/a0"}


@pytest.mark.parametrize(
    "schema",
    [
        {"patternProperties": {_EVIL: True}, "additionalProperties": False},
        {"patternProperties": {_EVIL: True}, "additionalProperties": {"type": "null"}},
        {"patternProperties": {_EVIL: True}, "unevaluatedProperties": False},
        {"allOf": [{"patternProperties": {_EVIL: True}}], "unevaluatedProperties": False},
        {"properties": {_LONG: {"pattern": _EVIL, "$schema": "http://json-schema.org/draft-07/schema#"}}},
        {
            "properties": {
                _LONG: {"pattern": _EVIL, "$schema": "https://json-schema.org/draft/2020-12/schema"}
            }
        },
        {"propertyNames": {"pattern": _EVIL}},
    ],
)
def test_no_keyword_of_a_schema_uses_a_backtracking_regex(schema: dict[str, Any]) -> None:
    assert schema_faults(schema) == []

    found = faults(schema, {_LONG: _LONG})

    assert len(found) == 1


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        (doubling(60), 1),
        ({"anyOf": [{"items": {"$ref": "#"}}, {"items": {"$ref": "#"}}, False]}, [[[[[[[[[[1]]]]]]]]]] * 20),
        ({"$ref": "#"}, 1),
        ({"uniqueItems": True}, [[number, {"a": number}] for number in range(30_000)]),
        ({"items": {"enum": [[number] for number in range(2_000)]}}, [[-1]] * 10_000),
        ({"items": {"anyOf": [{"type": "string"}] * 400}}, [["long"] * 200] * 1_000),
        ({"items": {"required": [str(n) for n in range(4_000)]}, "unevaluatedItems": False}, [{}] * 10_000),
        ({"prefixItems": [True], "unevaluatedItems": False}, list(range(50_000))),
        ({"$defs": {"a": {"$anchor": "b"}}, "items": {"$ref": "#b"}}, [1] * 20_000),
    ],
)
def test_a_validation_ends_soon_whatever_the_schema_doubles(schema: dict[str, Any], value: Any) -> None:
    started = time.process_time()

    faults(schema, value)

    assert time.process_time() - started < _HANG_SECONDS


def test_a_validation_that_would_take_too_long_is_a_fault() -> None:
    assert [fault.message for fault in faults(doubling(60), "x")] == [
        "validating the value takes too much work: make the value or the schema smaller"
    ]


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ({"properties": {str(number): {} for number in range(500)}}, "at most 500 objects"),
        ({"enum": list(range(5_000))}, "at most 5000 members and items"),
        ({"items": {"not": {"items": {"not": {}}}}}, ""),
        ({"$ref": "http://127.0.0.1/x"}, "points outside"),
        ({"$dynamicRef": "#x"}, "not supported"),
        ({"pattern": "(?=a)"}, "not a pattern"),
        ({"patternProperties": {"(?=a)": {}}}, "not a pattern"),
    ],
)
def test_a_schema_is_limited_in_size_and_has_no_outside_references(
    schema: dict[str, Any], words: str
) -> None:
    found = schema_faults(schema)

    assert words in "".join(found)
    assert bool(found) == bool(words)


def test_a_deep_schema_is_rejected() -> None:
    deep: dict[str, Any] = {}
    for _ in range(40):
        deep = {"items": deep}

    assert schema_faults(deep) == ["a JSON Schema may be nested at most 32 deep"]


def test_schemas_together_are_limited_in_number_and_size() -> None:
    large: dict[str, Any] = {"properties": {str(number): {} for number in range(400)}}

    assert together_faults([{}] * MAX_SCHEMAS) == []
    assert together_faults([{}] * (MAX_SCHEMAS + 1)) == ["at most 20 JSON Schemas are allowed, not 21"]
    assert together_faults([large] * 3) == ["all JSON Schemas together may hold at most 1000 objects"]


def test_faults_are_few_and_short() -> None:
    long = "x" * 10_000
    schema = {
        "items": {"enum": [long] * 50},
        "required": [long] * 50,
        "properties": {"a": {"additionalProperties": False}},
    }

    found = [*faults(schema, [1] * 1_000), *faults(schema, {"a": {f"{long}{n}": 1 for n in range(50)}})]

    assert len(found) <= 2 * MAX_FAULTS
    assert all(len(fault.message) <= MAX_FAULT_CHARACTERS for fault in found)


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 2) | st.sampled_from([1.0, 0.5, "", "a", "ab", "b"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=6,
)
_LEAVES = st.one_of(
    st.booleans(),
    st.fixed_dictionaries(
        {},
        optional={
            "type": st.sampled_from(["string", "integer", "object", "array", "null", "number", "boolean"]),
            "minimum": st.integers(-1, 1),
            "maxLength": st.integers(0, 2),
            "pattern": st.sampled_from(["a", "^a", "b$", "^(a+)+$"]),
            "enum": st.lists(_VALUES, min_size=1, max_size=3),
            "const": _VALUES,
            "uniqueItems": st.booleans(),
            "required": st.lists(st.sampled_from("abc"), max_size=2, unique=True),
            "minItems": st.integers(0, 2),
            "maxProperties": st.integers(0, 2),
            "dependentRequired": st.dictionaries(st.sampled_from("ab"), st.just(["c"]), max_size=1),
            "$ref": st.sampled_from(["#/$defs/one", "#/$defs/two"]),
        },
    ),
)


def _larger(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    several = st.lists(inner, min_size=1, max_size=2)
    named = st.dictionaries(st.sampled_from("abc"), inner, max_size=2)
    return st.fixed_dictionaries(
        {},
        optional={
            "properties": named,
            "patternProperties": st.dictionaries(st.sampled_from(["a", "^[ab]$", "c|b"]), inner, max_size=2),
            "additionalProperties": inner,
            "unevaluatedProperties": inner,
            "propertyNames": inner,
            "items": inner,
            "prefixItems": several,
            "unevaluatedItems": inner,
            "contains": inner,
            "allOf": several,
            "anyOf": several,
            "oneOf": several,
            "not": inner,
            "if": inner,
            "then": inner,
            "else": inner,
            "dependentSchemas": named,
        },
    )


_ONE = st.sampled_from([True, {"type": "object"}, {"properties": {"a": True}}])
_PARTS = st.lists(st.recursive(_LEAVES, _larger, max_leaves=6), min_size=1, max_size=2)
_SCHEMAS = st.fixed_dictionaries(
    {"$defs": st.fixed_dictionaries({"one": _ONE, "two": st.just({"prefixItems": [True]})})},
    optional={"allOf": _PARTS, "unevaluatedProperties": _LEAVES, "unevaluatedItems": _LEAVES},
)


@settings(max_examples=100, deadline=None)
@given(_SCHEMAS, _VALUES)
def test_validation_agrees_with_the_reference_implementation(schema: Mapping[str, Any], value: Any) -> None:
    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError:
        assert schema_faults(schema) != []
        return

    assert bool(faults(schema, value)) == bool(list(Draft202012Validator(schema).iter_errors(value)))
