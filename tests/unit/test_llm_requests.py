"""What is sent fits the SDKs' own types of requests, names one endpoint's key only, and begins with a stable prefix."""

from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from anthropic.types import MessageParam, TextBlockParam
from anthropic.types.message_create_params import MessageCreateParamsNonStreaming
from anthropic.types.message_create_params import MessageCreateParamsStreaming as AnthropicStreaming
from openai.types.chat import ChatCompletionMessageParam
from openai.types.chat.completion_create_params import (
    CompletionCreateParamsNonStreaming,
    CompletionCreateParamsStreaming,
)
from openai.types.responses.response_create_params import (
    ResponseCreateParamsNonStreaming,
    ResponseCreateParamsStreaming,
)
from pydantic import TypeAdapter, with_config

from orchestrator.llm.anthropic import CACHED_BYTES
from orchestrator.llm.prompt import Message, Role
from orchestrator.llm.provider import FinishReason, Usage
from orchestrator.models import model_errors
from orchestrator.models.model_choice import needs_responses
from orchestrator.planner.plan_schema import PLAN_SCHEMA
from tests.fake_llm.faults import Fault
from tests.fake_llm.server import FakeLLM, Scripted
from tests.llm_kit import HELLO, ModelCaller

LONG = [Message(Role.SYSTEM, "Rules. " * CACHED_BYTES), Message(Role.USER, "Hello.")]
FORMS = {
    ("openai", False): CompletionCreateParamsNonStreaming,
    ("openai", True): CompletionCreateParamsStreaming,
    ("anthropic", False): MessageCreateParamsNonStreaming,
    ("anthropic", True): AnthropicStreaming,
}
ITEMS: dict[str, dict[str, Any]] = {
    "openai": {"messages": list[ChatCompletionMessageParam]},
    "anthropic": {"messages": list[MessageParam], "system": list[TextBlockParam]},
}
BOTH = pytest.mark.parametrize("name", ["openai", "anthropic"])
BOTH_WAYS = pytest.mark.parametrize("streams", [False, True], ids=["whole", "stream"])
SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string"}},
    "required": ["name"],
    "additionalProperties": False,
}


@pytest.fixture
def fake() -> Iterator[FakeLLM]:
    with FakeLLM() as running:
        yield running


def require_valid(name: str, body: Mapping[str, Any], *, streams: bool) -> None:
    """Check a body by the SDK's own types. Raises ValidationError, also for a member that the type lacks."""
    closed = with_config({"extra": "forbid"})(FORMS[name, streams])
    TypeAdapter(closed).validate_python(body)
    # pydantic reads the items of an Iterable only on demand
    for member, items in ITEMS[name].items():
        if isinstance(body.get(member), list):
            TypeAdapter(items).validate_python(body[member])


@BOTH
@BOTH_WAYS
@pytest.mark.parametrize("schema", [None, SCHEMA, PLAN_SCHEMA], ids=["text", "strict", "plan"])
@pytest.mark.parametrize("messages", [HELLO, LONG], ids=["short", "long"])
def test_a_request_has_the_form_of_the_providers_own_types(
    fake: FakeLLM, name: str, streams: bool, schema: Any, messages: list[Message]
) -> None:
    official = {"max_completion_tokens": True, "prompt_cache": True}
    asked = ModelCaller(fake, [f"{name}:fake-model"], streams=streams, stated=official)

    asked.ask(schema, messages=messages)

    (request,) = fake.received
    require_valid(name, request.body, streams=streams)


def test_the_check_of_forms_finds_what_no_type_has(fake: FakeLLM) -> None:
    ModelCaller(fake).ask()

    for wrong in ({"no_such_member": 1}, {"messages": [{"role": "nobody", "content": "x"}]}):
        with pytest.raises(ValueError, match=r"no_such_member|nobody"):
            require_valid("openai", {**fake.received[0].body, **wrong}, streams=False)


def test_openai_gets_one_cache_key_for_all_questions_of_a_prompt(fake: FakeLLM) -> None:
    asked = ModelCaller(fake, stated={"prompt_cache": True})
    for text in ("One.", "Two."):
        asked.ask(messages=[Message(Role.SYSTEM, "Be brief."), Message(Role.USER, text)])
    asked.ask(messages=[Message(Role.SYSTEM, "Be long."), Message(Role.USER, "One.")])

    first, second, other = (request.body["prompt_cache_key"] for request in fake.received)
    assert first == second != other
    assert len(first) <= 64


def test_other_servers_get_no_cache_key(fake: FakeLLM) -> None:
    ModelCaller(fake, ["local:fake-model"]).ask()

    assert "prompt_cache_key" not in fake.received[0].body


def test_anthropic_caches_only_prefixes_of_the_smallest_size(fake: FakeLLM) -> None:
    asked = ModelCaller(fake, ["anthropic:fake-model"])
    asked.ask(messages=HELLO)
    asked.ask(messages=LONG)

    short, long = (request.body["system"] for request in fake.received)
    assert short == "Be brief."
    assert long == [{"type": "text", "text": LONG[0].text, "cache_control": {"type": "ephemeral"}}]


def test_a_server_that_rejects_cache_control_gets_the_plain_text(fake: FakeLLM) -> None:
    said = b'{"error": {"message": "system.0.cache_control: Extra inputs are not permitted"}}'
    fake.add(Scripted(raw=said, status=400))
    asked = ModelCaller(fake, ["anthropic:fake-model"])

    asked.ask(messages=LONG)

    assert fake.received[1].body["system"] == LONG[0].text


@BOTH
@BOTH_WAYS
def test_cached_tokens_are_part_of_the_usage(fake: FakeLLM, name: str, streams: bool) -> None:
    fake.add(Scripted("Hello.", input_tokens=2_000, cached_tokens=1_500, output_tokens=10))

    answer = ModelCaller(fake, [f"{name}:fake-model"], streams=streams).ask()

    assert answer.usage == Usage(2_000, 10, cached_tokens=1_500)


@BOTH
def test_a_streamed_call_records_the_time_to_its_first_text(fake: FakeLLM, name: str) -> None:
    streamed = ModelCaller(fake, [f"{name}:fake-model"], streams=True)
    whole = ModelCaller(fake, [f"{name}:fake-model"])

    streamed.ask()
    whole.ask()

    first = streamed.attempts[0].first_text_seconds
    assert first is not None
    assert 0 < first <= streamed.attempts[0].seconds
    assert whole.attempts[0].first_text_seconds is None


@BOTH
@pytest.mark.parametrize("fault", [Fault.TRUNCATED_STREAM, Fault.ERROR_IN_STREAM, Fault.CUT_BODY])
def test_a_stream_that_breaks_off_is_a_failure_that_is_retried(
    fake: FakeLLM, name: str, fault: Fault
) -> None:
    fake.fail(fault)

    with pytest.raises(model_errors.ModelError) as broken:
        ModelCaller(fake, [f"{name}:fake-model"], streams=True).ask()

    assert broken.value.retryable
    assert broken.value.may_have_cost


def test_a_local_model_answers_while_openai_is_down(fake: FakeLLM) -> None:
    with FakeLLM() as local:
        fake.fail(Fault.SERVER_ERROR)
        asked = ModelCaller(fake, ["openai:fake-model", "local:fake-qwen3"], at={"local": local})

        answer = asked.ask()

    assert (answer.provider, answer.model) == ("local", "fake-qwen3")
    assert [attempt.provider for attempt in asked.attempts] == ["openai", "local"]
    assert "max_tokens" in local.received[0].body


@BOTH_WAYS
@pytest.mark.parametrize("schema", [None, SCHEMA, PLAN_SCHEMA], ids=["text", "strict", "plan"])
def test_a_model_that_needs_the_responses_api_is_asked_by_it(
    fake: FakeLLM, streams: bool, schema: Any
) -> None:
    fake.add(Scripted(stays=True, input_tokens=2_000, cached_tokens=1_500, output_tokens=9))
    stated = {"responses": True, "prompt_cache": True}
    asked = ModelCaller(fake, ["openai:fake-pro"], streams=streams, stated=stated)

    answer = asked.ask(schema, messages=LONG)

    assert answer.usage == Usage(2_000, 9, cached_tokens=1_500)
    assert (schema is None) is (answer.value is None)
    (request,) = fake.received
    assert request.path == "/v1/responses"
    assert request.body["store"] is False
    assert (asked.attempts[0].first_text_seconds is not None) is streams
    form = ResponseCreateParamsStreaming if streams else ResponseCreateParamsNonStreaming
    closed = with_config({"extra": "forbid"})(form)
    TypeAdapter(closed).validate_python(request.body)


@BOTH_WAYS
def test_chat_completions_that_name_the_responses_api_are_not_tried_again(
    fake: FakeLLM, streams: bool
) -> None:
    said = b'{"error": {"message": "This model is only supported in v1/responses and not in v1/chat/completions."}}'
    fake.add(Scripted(raw=said, status=404))
    asked = ModelCaller(fake, ["openai:fake-new"], streams=streams, stated={})

    asked.ask()
    asked.ask()

    assert [request.path for request in fake.received] == ["/v1/chat/completions", *["/v1/responses"] * 2]


@BOTH_WAYS
def test_the_ends_of_responses_are_those_of_chat_completions(fake: FakeLLM, streams: bool) -> None:
    asked = ModelCaller(fake, ["openai:fake-pro"], streams=streams, stated={"responses": True})

    fake.fail(Fault.REFUSAL)
    with pytest.raises(model_errors.ModelRefused):
        asked.ask()
    fake.fail(Fault.LENGTH)
    assert asked.ask().finish is FinishReason.LENGTH
    fake.fail(Fault.TRUNCATED_STREAM)
    with pytest.raises(model_errors.ModelError) as broken:
        asked.ask()
    assert broken.value.retryable
    fake.add(Scripted("Hello.", unstreamed=True))
    assert asked.ask().text == "Hello."


@pytest.mark.parametrize(
    ("model", "needed"),
    [("gpt-5-pro", True), ("gpt-5.1-codex-max", True), ("o3-pro-2025-06-10", True), ("gpt-6-sol", False)],
)
def test_the_registry_knows_which_models_need_the_responses_api(model: str, needed: bool) -> None:
    assert needs_responses(model) is needed
