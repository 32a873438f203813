"""Structured output ends with a valid value or a typed error, for every server and every answer."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.llm.gate import FallbackGate, Policy
from orchestrator.llm.provider import ResponseFormat
from orchestrator.llm.strict_schema import strict_schema, without_nulls
from orchestrator.llm.structured_output import parse_value
from orchestrator.models import model_errors
from orchestrator.models.arm_capability import ARMS
from orchestrator.models.model_errors import ModelError
from orchestrator.rules.json_schema import faults
from tests.fake_llm.answers import example
from tests.fake_llm.faults import Fault
from tests.fake_llm.server import FakeLLM, Received, Scripted
from tests.llm_kit import ModelCaller

PROVIDERS = ("openai", "anthropic")
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "minLength": 1},
        "count": {"type": "integer", "minimum": 3},
        "note": {"type": "string"},
    },
    "required": ["name", "count"],
    "additionalProperties": False,
}
GOOD = {"name": "a", "count": 3}
FREE = {"type": "object", "properties": {"inputs": {"type": "object"}}, "required": ["inputs"]}


@pytest.fixture
def fake() -> Iterator[FakeLLM]:
    with FakeLLM() as running:
        yield running


@pytest.mark.parametrize("name", PROVIDERS)
def test_the_server_enforces_the_schema_where_it_can(fake: FakeLLM, name: str) -> None:
    fake.answer({**GOOD, "note": None})

    answer = ModelCaller(fake, [f"{name}:fake-model"]).ask(SCHEMA)

    assert (answer.value, answer.response_format) == (GOOD, ResponseFormat.JSON_SCHEMA)
    sent = _sent_schema(fake.received[0])
    assert sent["required"] == ["name", "count", "note"]
    assert sent["properties"]["note"] == {"anyOf": [{"type": "string"}, {"type": "null"}]}
    assert "minimum" not in sent["properties"]["count"]


@pytest.mark.parametrize(
    ("name", "forms"),
    [
        ("openai", [ResponseFormat.JSON_SCHEMA, ResponseFormat.JSON_OBJECT, ResponseFormat.TEXT]),
        ("anthropic", [ResponseFormat.JSON_SCHEMA, ResponseFormat.TEXT]),
    ],
)
def test_a_server_without_schemas_gets_the_schema_as_text_from_then_on(
    fake: FakeLLM, name: str, forms: list[ResponseFormat]
) -> None:
    caller = ModelCaller(fake, [f"{name}:fake-model"])
    fake.fail(*[Fault.NO_SCHEMA] * (len(forms) - 1))
    fake.answer(f"Here you are:\n```json\n{json.dumps(GOOD)}\n```\nAnything else?")

    first = caller.ask(SCHEMA)
    fake.answer(GOOD)
    second = caller.ask(SCHEMA)

    assert (first.value, first.response_format) == (GOOD, ResponseFormat.TEXT)
    assert [attempt.outcome for attempt in first.attempts] == ["model_request_rejected"] * (
        len(forms) - 1
    ) + ["ok"]
    assert (second.response_format, len(second.attempts)) == (ResponseFormat.TEXT, 1)


@pytest.mark.parametrize(
    ("name", "form"), [("openai", ResponseFormat.JSON_SCHEMA), ("anthropic", ResponseFormat.TEXT)]
)
def test_a_schema_that_no_server_enforces_is_sent_in_another_format(
    fake: FakeLLM, name: str, form: ResponseFormat
) -> None:
    fake.answer({"inputs": {"anything": 1}})

    answer = ModelCaller(fake, [f"{name}:fake-model"]).ask(FREE)

    assert (answer.value, answer.response_format) == ({"inputs": {"anything": 1}}, form)
    if form is ResponseFormat.JSON_SCHEMA:
        assert fake.received[0].body["response_format"]["json_schema"]["strict"] is False


@pytest.mark.parametrize("name", PROVIDERS)
def test_a_wrong_answer_goes_back_with_its_faults_at_most_twice(fake: FakeLLM, name: str) -> None:
    fake.answer({"name": "a", "count": 1}, {"name": "a"}, GOOD)

    answer = ModelCaller(fake, [f"{name}:fake-model"]).ask(SCHEMA)

    assert answer.value == GOOD
    assert "- count breaks minimum 3" in _last_turn(fake.received[1])
    assert "- the value lacks 'count'" in _last_turn(fake.received[2])
    assert len(answer.attempts) == 3
    assert answer.usage.tokens == sum(attempt.usage.tokens for attempt in answer.attempts if attempt.usage)


def test_three_wrong_answers_are_an_error_that_says_what_was_wrong(fake: FakeLLM) -> None:
    fake.answer("one", "two", {"name": "a", "count": 1}, GOOD)

    with pytest.raises(model_errors.ModelAnswerInvalid, match="count breaks minimum 3") as refused:
        ModelCaller(fake).ask(SCHEMA)

    assert len(fake.received) == 3
    attempts = refused.value.details["attempts"]
    assert [(attempt["outcome"], attempt["fake"]) for attempt in attempts] == [("ok", True)] * 3


def test_an_answer_cut_by_the_output_limit_is_not_sent_back(fake: FakeLLM) -> None:
    fake.add(*[Scripted(json.dumps(GOOD), fault=Fault.LENGTH)] * 2)

    with pytest.raises(model_errors.ModelAnswerCut, match="400 tokens"):
        ModelCaller(fake).ask(SCHEMA)

    first, second = (request.body["messages"] for request in fake.received)
    assert first == second


@pytest.mark.parametrize(
    "text",
    [
        json.dumps(GOOD),
        f"  {json.dumps(GOOD)}\n",
        f"```json\n{json.dumps(GOOD)}\n```",
        f"```\n{json.dumps(GOOD)}\n```",
        f"Sure! {{thinking}} The answer: {json.dumps(GOOD)}. Done {{}}.",
        f'{{"name": "x"}} was wrong; rather {json.dumps(GOOD)}',
        f"[{json.dumps(GOOD)}",
    ],
)
def test_a_value_is_found_between_other_text(text: str) -> None:
    assert parse_value(text, SCHEMA) == (GOOD, [])


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "no JSON value"),
        ("[" * 100_000, "no JSON value"),
        ('{"name": "a", "count": NaN}', "no JSON value"),
        ('{"name": "a", "count": 1e999}', "no JSON value"),
        ('{"name": "a", "count": ' + "9" * 5000 + "}", "no JSON value"),
        ('{"name": "\\u0000", "count": 3}', "NUL"),
        ('{"name": "\\ud800", "count": 3}', "surrogate"),
        ("[" * 300 + "]" * 300, "deeper"),
        ('{"name": "a", "count": "3"}', "count must be of type integer"),
    ],
)
def test_an_unstorable_or_unusable_value_is_a_fault(text: str, reason: str) -> None:
    value, wrong = parse_value(text, SCHEMA)

    assert value is None
    assert reason in wrong[0]


def test_a_schema_outside_the_strict_subset_has_no_strict_form() -> None:
    assert strict_schema({"type": "array", "items": {"type": "string"}}) is None
    assert strict_schema(FREE) is None
    assert strict_schema({"type": "object", "properties": {"a": {}}}) is None
    assert strict_schema({"type": "object", "properties": {"a": {"type": "array"}}}) is None


def test_only_nulls_of_optional_members_are_removed() -> None:
    schema = {
        "type": "object",
        "properties": {
            "kept": {"type": ["string", "null"]},
            "left_out": {"type": "string"},
            "items": {"type": "array", "items": {"$ref": "#/$defs/item"}},
        },
        "$defs": {"item": {"type": "object", "properties": {"x": {"type": "integer"}}}},
    }

    found = without_nulls({"kept": None, "left_out": None, "items": [{"x": None}, {"x": 1}]}, schema)

    assert found == {"kept": None, "items": [{}, {"x": 1}]}


def test_the_fake_server_makes_values_for_all_our_schemas() -> None:
    for arm in ARMS.values():
        for action in arm.actions.values():
            made = example(action.output_schema)
            wrong = [fault for fault in faults(action.output_schema, made) if fault.keyword != "pattern"]
            assert not wrong, (action.name, wrong)


@pytest.fixture(scope="module")
def shared() -> Iterator[FakeLLM]:
    with FakeLLM() as running:
        yield running


@pytest.fixture(scope="module")
def callers(shared: FakeLLM) -> dict[tuple[str, bool], ModelCaller]:
    return {
        (name, streams): ModelCaller(
            shared,
            [f"{name}:fake-model"],
            gate=FallbackGate(Policy(failures=10**9)),
            streams=streams,
            strict=False,
        )
        for name in PROVIDERS
        for streams in (False, True)
    }


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=200), name=st.sampled_from(PROVIDERS), streams=st.booleans())
def test_any_text_of_a_model_ends_as_a_value_or_a_typed_error(
    shared: FakeLLM, callers: dict[tuple[str, bool], ModelCaller], content: bytes, name: str, streams: bool
) -> None:
    shared.answer(*[content.decode("utf-8", "surrogateescape")] * 3)

    _ends_well(callers[name, streams], shared)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    value=st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["name", "count", "note"]), inner),
        max_leaves=8,
    ),
    name=st.sampled_from(PROVIDERS),
)
def test_any_json_of_a_model_ends_as_a_value_or_a_typed_error(
    shared: FakeLLM, callers: dict[tuple[str, bool], ModelCaller], value: Any, name: str
) -> None:
    shared.answer(*[json.dumps(value)] * 3)

    _ends_well(callers[name, False], shared)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    raw=st.binary(max_size=200)
    | st.recursive(
        st.none() | st.integers() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    ["choices", "message", "content", "usage", "type", "text", "stop_reason", "error"]
                ),
                inner,
            )
        ),
        max_leaves=12,
    ).map(lambda value: json.dumps(value).encode()),
    name=st.sampled_from(PROVIDERS),
    streams=st.booleans(),
)
def test_any_body_of_a_server_ends_as_a_value_or_a_typed_error(
    shared: FakeLLM, callers: dict[tuple[str, bool], ModelCaller], raw: bytes, name: str, streams: bool
) -> None:
    body = b"data: " + raw + b"\n\n" if streams else raw
    shared.add(*[Scripted(raw=body)] * 3)

    _ends_well(callers[name, streams], shared)


def _ends_well(caller: ModelCaller, fake: FakeLLM) -> None:
    try:
        answer = caller.ask(SCHEMA)
    except ModelError:
        pass
    else:
        assert faults(SCHEMA, answer.value) == []
    finally:
        fake.forget()
        caller.attempts.clear()


def _sent_schema(request: Received) -> dict[str, Any]:
    asked = request.body.get("response_format") or request.body["output_config"]["format"]
    schema: dict[str, Any] = asked.get("schema") or asked["json_schema"]["schema"]
    return schema


def _last_turn(request: Received) -> str:
    content: str = request.body["messages"][-1]["content"]
    return content
