"""What a server does not support is learned from its rejections, sent differently at once, and remembered."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from orchestrator.llm.capabilities import LearnedFacts
from orchestrator.llm.provider import ResponseFormat
from orchestrator.models import model_errors
from tests.fake_llm.faults import Fault
from tests.fake_llm.server import FakeLLM, Scripted
from tests.llm_kit import ModelCaller, provider

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"name": {"type": "string"}},
    "required": ["name"],
    "additionalProperties": False,
}
GOOD = json.dumps({"name": "a"})
BOTH = pytest.mark.parametrize("name", ["openai", "anthropic"])


@pytest.fixture
def fake() -> Iterator[FakeLLM]:
    with FakeLLM() as running:
        yield running


def rejection(message: str, *, status: int = 400) -> Scripted:
    body = {"error": {"message": message, "type": "invalid_request_error"}}
    return Scripted(raw=json.dumps(body).encode(), status=status)


@pytest.mark.parametrize(
    ("endpoint", "said", "used"),
    [
        ("gateway", "Unsupported parameter: 'max_tokens' is not supported with this model. Use "
         "'max_completion_tokens' instead.", "max_completion_tokens"),
        ("openai", "Unrecognized request argument supplied: max_completion_tokens", "max_tokens"),
        ("openai", "body.max_completion_tokens: Extra inputs are not permitted", "max_tokens"),
    ],
)  # fmt: skip
def test_the_other_name_of_the_output_limit_is_sent_and_remembered(
    fake: FakeLLM, endpoint: str, said: str, used: str
) -> None:
    fake.add(rejection(said))
    asked = ModelCaller(fake, [f"{endpoint}:fake-model"])

    asked.ask()
    asked.ask()

    names = [{"max_tokens", "max_completion_tokens"} & request.body.keys() for request in fake.received]
    assert names[1:] == [{used}, {used}]
    assert names[0] != names[1]
    # one call: a rejected parameter is no failure
    assert [attempt.outcome for attempt in asked.attempts] == ["ok", "ok"]


@pytest.mark.parametrize("said", ["max_completion_tokens is too large: 100", "max_tokens must be positive"])
def test_a_limit_that_is_only_too_large_is_no_reason_for_another_name(fake: FakeLLM, said: str) -> None:
    fake.add(rejection(said))

    with pytest.raises(model_errors.ModelRequestRejected):
        ModelCaller(fake).ask()

    assert len(fake.received) == 1


@BOTH
@pytest.mark.parametrize(
    "said", ["System role not supported", "'messages[0].role' does not support 'system' with this model."]
)
def test_a_model_without_system_messages_gets_their_text_in_the_first_message(
    fake: FakeLLM, name: str, said: str
) -> None:
    fake.add(rejection(said))
    asked = ModelCaller(fake, [f"{name}:fake-model"])

    asked.ask(SCHEMA)
    asked.ask(SCHEMA)

    for request in fake.received[1:]:
        assert "system" not in request.body
        assert [(turn["role"], turn["content"]) for turn in request.body["messages"]] == [
            ("user", "Be brief.\n\nHello.")
        ]


@pytest.mark.parametrize(
    ("said", "gone"),
    [
        ("Unknown parameter: stream_options", "stream_options"),
        ("Your organization must be verified to stream this model.", "stream"),
    ],
)
def test_a_server_without_streams_or_their_usage_is_asked_without(
    fake: FakeLLM, said: str, gone: str
) -> None:
    fake.add(rejection(said))
    asked = ModelCaller(fake, streams=True)

    asked.ask()
    asked.ask()

    assert [gone in request.body for request in fake.received] == [True, False, False]


def test_what_was_learned_holds_for_one_model_at_one_address(fake: FakeLLM) -> None:
    learned = LearnedFacts()
    fake.add(rejection("System role not supported"))
    ModelCaller(fake, learned=learned).ask()

    known = provider(fake, "openai", learned=learned)
    assert not known.capabilities_of("fake-model").has("system")
    assert known.capabilities_of("other").has("system")
    assert provider(fake, "local", learned=learned).capabilities_of("fake-model").has("system")


def test_what_the_operator_states_is_not_tried(fake: FakeLLM) -> None:
    asked = ModelCaller(fake, ["local:fake-model"], stated={"json_schema": False, "system": False})

    answer = asked.ask(SCHEMA)

    assert answer.response_format is ResponseFormat.JSON_OBJECT
    (request,) = fake.received
    assert request.body["response_format"] == {"type": "json_object"}
    assert [turn["role"] for turn in request.body["messages"]] == ["user"]


@BOTH
def test_a_server_that_ignores_the_schema_gets_it_in_words(fake: FakeLLM, name: str) -> None:
    fake.add(*[Scripted(ignores_schema=True, stays=True)])
    asked = ModelCaller(fake, [f"{name}:fake-model"])

    first, second = asked.ask(SCHEMA), asked.ask(SCHEMA)

    assert first.value.keys() == second.value.keys() == {"name"}
    in_words = ["JSON Schema:" in request.text for request in fake.received]
    # the second question states the schema at once
    assert in_words == [False, True, True]


def test_an_answer_that_fits_the_schema_as_sent_is_no_sign_that_it_was_ignored(fake: FakeLLM) -> None:
    longer = {**SCHEMA, "properties": {"name": {"type": "string", "minLength": 3}}}
    fake.answer({"name": "a"}, {"name": "abc"})
    asked = ModelCaller(fake)

    assert asked.ask(longer).value == {"name": "abc"}

    assert [request.body["response_format"]["type"] for request in fake.received] == ["json_schema"] * 2


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (400, "Failed to initialize samplers: failed to parse grammar"),
        (500, "failed to parse grammar"),
        (500, "Failed to convert JSON schema to grammar"),
    ],
)
def test_a_grammar_that_does_not_compile_steps_down_and_is_remembered(
    fake: FakeLLM, status: int, said: str
) -> None:
    fake.add(rejection(said, status=status), rejection("no grammar at all: response_format"))
    asked = ModelCaller(fake)

    first = asked.ask(SCHEMA)
    second = asked.ask(SCHEMA)

    assert first.response_format is second.response_format is ResponseFormat.TEXT
    kinds = [(request.body.get("response_format") or {}).get("type") for request in fake.received]
    assert kinds == ["json_schema", "json_object", None, None]
    assert asked.attempts[-1].breaker == "closed"


@pytest.mark.parametrize("said", ["This model's maximum context length is 4096 tokens", "prompt is too long"])
def test_a_request_beyond_the_context_is_not_sent_in_other_formats(fake: FakeLLM, said: str) -> None:
    fake.add(rejection(said))

    with pytest.raises(model_errors.ModelRequestRejected):
        ModelCaller(fake).ask(SCHEMA)

    assert len(fake.received) == 1


def test_an_ordinary_server_error_is_no_rejection(fake: FakeLLM) -> None:
    fake.fail(Fault.SERVER_ERROR)

    with pytest.raises(model_errors.ModelUnavailable):
        ModelCaller(fake).ask(SCHEMA)
