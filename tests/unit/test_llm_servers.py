"""Servers that deviate from a provider's protocol are supported, or give a clear error."""

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from orchestrator.llm.anthropic import AnthropicProvider
from orchestrator.llm.gate import FallbackGate
from orchestrator.llm.model_call import CallContext, ModelCalls, ModelEndpoint
from orchestrator.llm.openai import OpenAIEmbeddings, OpenAIProvider
from orchestrator.llm.pricing import Prices
from orchestrator.llm.provider import FinishReason, ModelRequest
from orchestrator.models import model_errors
from orchestrator.models.model_errors import ModelError
from tests.fake_llm.answers import SENTENCE
from tests.fake_llm.faults import Fault
from tests.fake_llm.server import FakeLLM, Scripted
from tests.llm_kit import HELLO, ModelCaller, embedder, endpoint_of

PROVIDERS = ("openai", "anthropic")
BOTH_WAYS = pytest.mark.parametrize("streams", [False, True], ids=["whole", "stream"])
BOTH = pytest.mark.parametrize("name", PROVIDERS)
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"name": {"type": "string"}},
    "required": ["name"],
    "additionalProperties": False,
}
GOOD = json.dumps({"name": "a"})


@pytest.fixture
def fake() -> Iterator[FakeLLM]:
    with FakeLLM() as running:
        yield running


def caller(fake: FakeLLM, name: str, *, streams: bool = False) -> ModelCaller:
    return ModelCaller(fake, [f"{name}:fake-model"], streams=streams, strict=False)


@BOTH
@BOTH_WAYS
@pytest.mark.parametrize("word", ["eos", "", "tool_calls", "STOP", "end_turn"])
def test_an_unknown_finish_reason_of_a_fitting_answer_counts_as_stop(
    fake: FakeLLM, name: str, streams: bool, word: str
) -> None:
    fake.add(Scripted(GOOD, finish=word, input_tokens=30, output_tokens=7))

    answer = caller(fake, name, streams=streams).ask(SCHEMA)

    assert (answer.value, answer.finish) == ({"name": "a"}, FinishReason.STOP)
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (30, 7)


@BOTH
@pytest.mark.parametrize("word", ["MAX_TOKENS", "model_length", "max_output_tokens"])
def test_a_servers_own_finish_reason_for_the_output_limit_is_recognised(
    fake: FakeLLM, name: str, word: str
) -> None:
    fake.add(*[Scripted(GOOD[:-3], finish=word)] * 2)

    with pytest.raises(model_errors.ModelAnswerCut):
        caller(fake, name).ask(SCHEMA)


@BOTH_WAYS
def test_content_in_parts_is_parsed_without_reasoning(fake: FakeLLM, streams: bool) -> None:
    fake.add(Scripted(GOOD, in_parts=True))

    answer = caller(fake, "openai", streams=streams).ask(SCHEMA)

    assert (answer.text, answer.value) == (GOOD, {"name": "a"})


def test_anthropic_content_as_plain_text_is_parsed(fake: FakeLLM) -> None:
    whole = {
        "type": "message",
        "role": "assistant",
        "model": "fake-m",
        "content": GOOD,
        "stop_reason": "end_turn",
    }
    fake.add(Scripted(raw=json.dumps({**whole, "usage": {"input_tokens": 3, "output_tokens": 2}}).encode()))

    answer = caller(fake, "anthropic").ask(SCHEMA)

    assert (answer.value, answer.usage.tokens) == ({"name": "a"}, 5)


@BOTH
def test_a_server_that_ignores_stream_is_supported(fake: FakeLLM, name: str) -> None:
    fake.add(Scripted(GOOD, unstreamed=True, input_tokens=30, output_tokens=7))

    answer = caller(fake, name, streams=True).ask(SCHEMA)

    assert (answer.value, answer.usage.tokens) == ({"name": "a"}, 37)


@pytest.mark.parametrize("form", [None, SCHEMA])
def test_all_system_texts_are_sent_as_one_message(fake: FakeLLM, form: dict[str, Any] | None) -> None:
    fake.fail(Fault.NO_SCHEMA, Fault.NO_SCHEMA)
    fake.answer(GOOD)

    ModelCaller(fake).ask(form)

    for request in fake.received:
        assert [turn["role"] for turn in request.body["messages"]] == ["system", "user"]
    assert "Be brief." in str(fake.received[-1].body["messages"][0]["content"])


@BOTH
def test_the_last_rejection_of_all_response_formats_is_reported(fake: FakeLLM, name: str) -> None:
    for said in ("no json_schema here", "no json_object here", "the context is too long")[
        -3 if name == "openai" else -2 :
    ]:
        fake.add(Scripted(raw=json.dumps({"error": {"message": said}}).encode(), status=400))

    with pytest.raises(model_errors.ModelRequestRejected, match="the context is too long"):
        caller(fake, name).ask(SCHEMA)


@BOTH
@pytest.mark.parametrize(
    "body",
    [
        {"error": "out of memory"},
        {"detail": "out of memory"},
        {"detail": [{"loc": ["body"], "msg": "out of memory"}]},
        {"message": "out of memory"},
        {"error": {"message": "out of memory"}},
        "out of memory",
    ],
)
@pytest.mark.parametrize("status", [400, 404, 422, 500, 503])
def test_the_message_in_an_errors_body_is_reported(fake: FakeLLM, name: str, body: Any, status: int) -> None:
    raw = body.encode() if isinstance(body, str) else json.dumps(body).encode()
    fake.add(Scripted(raw=raw, status=status))

    with pytest.raises(ModelError, match=f"answered {status}: out of memory"):
        caller(fake, name).ask()


@BOTH
@BOTH_WAYS
def test_an_error_with_status_200_is_reported_and_costs_nothing(
    fake: FakeLLM, name: str, streams: bool
) -> None:
    fake.add(Scripted(raw=b'{"error": "no model is loaded"}'))

    with pytest.raises(model_errors.ModelNoAnswer, match="no model is loaded") as refused:
        caller(fake, name, streams=streams).ask()

    assert not refused.value.may_have_cost


def test_an_html_page_in_an_errors_body_is_not_reported(fake: FakeLLM) -> None:
    fake.add(Scripted(raw=b"<html>bad gateway</html>", status=502))

    with pytest.raises(model_errors.ModelUnavailable) as refused:
        ModelCaller(fake).ask()

    assert refused.value.message == "openai fake-model answered 502"


@BOTH
@BOTH_WAYS
@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_the_error_of_a_redirect_says_what_to_set_and_costs_nothing(
    fake: FakeLLM, name: str, streams: bool, status: int
) -> None:
    path = "/v1/chat/completions" if name == "openai" else "/v1/messages"
    to = {"location": f"https://me:secret@models.example{path}?token=secret"}
    fake.add(Scripted(raw=b"", status=status, headers=to))
    base = "https://models.example/v1" if name == "openai" else "https://models.example"

    with pytest.raises(model_errors.ModelMisconfigured) as refused:
        caller(fake, name, streams=streams).ask()

    assert refused.value.message == f"The server redirects to {base}: set {name.upper()}_BASE_URL to it."
    assert (refused.value.retryable, refused.value.may_have_cost) == (False, False)


def test_the_error_of_an_embeddings_redirect_says_what_to_set(fake: FakeLLM) -> None:
    fake.add(Scripted(raw=b"", status=308, headers={"location": "/v2/embeddings"}))

    with pytest.raises(model_errors.ModelMisconfigured, match=f"{fake.url}/v2: set OPENAI_BASE_URL"):
        embedder(fake).embed(["a"], deadline=10.0**9)


@BOTH
@BOTH_WAYS
def test_a_gzipped_response_is_decoded(fake: FakeLLM, name: str, streams: bool) -> None:
    fake.add(Scripted(GOOD, gzipped=True))

    assert caller(fake, name, streams=streams).ask(SCHEMA).value == {"name": "a"}


@BOTH
@pytest.mark.parametrize("how", ["br", "gzip"])
def test_an_undecodable_response_is_a_clear_error(fake: FakeLLM, name: str, how: str) -> None:
    fake.add(Scripted(raw=GOOD.encode(), headers={"content-encoding": how}))

    with pytest.raises(model_errors.ModelAnswerBroken, match="content encoding"):
        caller(fake, name).ask()


@pytest.mark.parametrize("opened", [OpenAIProvider, AnthropicProvider, OpenAIEmbeddings])
def test_a_request_that_can_not_be_made_is_a_configuration_error(fake: FakeLLM, opened: Any) -> None:
    name = "anthropic" if opened is AnthropicProvider else "openai"
    endpoint = ModelEndpoint(opened(endpoint_of(fake, name, api_key="schl\nüssel")), "fake-model")
    calls = ModelCalls(
        endpoint,
        context=CallContext(FallbackGate(), Prices(), 10, lambda attempt: None),
        budget=None,
        attempts=[],
    )

    with pytest.raises(model_errors.ModelMisconfigured, match="_API_KEY") as refused:
        calls.send(ModelRequest(HELLO, 10, time.monotonic() + 5))

    assert not refused.value.may_have_cost
    assert fake.received == []


def test_all_proxy_is_used(fake: FakeLLM, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    # without a scheme, as curl takes it
    monkeypatch.setenv("ALL_PROXY", fake.url.removeprefix("http://"))
    with FakeLLM() as server:
        asked = ModelCaller(server)
        answer = asked.ask()

    assert answer.text == SENTENCE
    assert server.received == []
    assert fake.received[0].path.startswith(server.url)
