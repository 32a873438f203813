"""For every fault of a provider, a call ends in time with an answer or with one of our errors."""

import pickle
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import pytest

from orchestrator.llm.error_translation import retry_after_seconds
from orchestrator.llm.provider import FinishReason, ModelRequest
from orchestrator.llm.transport import MAX_ANSWER_BYTES, DeadlineTransport
from orchestrator.models import model_errors
from orchestrator.models.model_errors import ModelError
from tests.fake_llm.answers import SENTENCE
from tests.fake_llm.faults import Fault
from tests.fake_llm.server import FakeLLM, Scripted
from tests.llm_kit import HELLO, ModelCaller, provider
from tests.tls import make_certificate

SLOW_SECONDS = 0.5
# the outcome of each fault: single responses, then streams if they differ
ENDS: dict[Fault, type[ModelError] | None] = {
    Fault.NONE: None,
    Fault.RATE_LIMITED: model_errors.ModelRateLimited,
    Fault.INSUFFICIENT_QUOTA: model_errors.ModelQuotaExhausted,
    Fault.SERVER_ERROR: model_errors.ModelUnavailable,
    Fault.OVERLOADED: model_errors.ModelUnavailable,
    Fault.UNAUTHORISED: model_errors.ModelUnauthorised,
    Fault.NOT_FOUND: model_errors.ModelUnknown,
    Fault.TOO_LARGE: model_errors.ModelRequestRejected,
    Fault.NO_SCHEMA: None,
    Fault.HANG: model_errors.ModelTimeout,
    Fault.DRIP: model_errors.ModelTimeout,
    Fault.DRIP_HEADERS: model_errors.ModelTimeout,
    Fault.FLOOD: model_errors.ModelAnswerBroken,
    Fault.RESET: model_errors.ModelConnectionLost,
    Fault.CUT_BODY: model_errors.ModelConnectionLost,
    Fault.TRUNCATED_STREAM: model_errors.ModelConnectionLost,
    Fault.ERROR_IN_STREAM: model_errors.ModelConnectionLost,
    Fault.BAD_JSON: model_errors.ModelAnswerBroken,
    Fault.HTML: model_errors.ModelNoAnswer,
    Fault.EMPTY_BODY: model_errors.ModelNoAnswer,
    Fault.EMPTY_OBJECT: model_errors.ModelNoAnswer,
    Fault.EMPTY: model_errors.ModelAnswerBroken,
    Fault.REFUSAL: model_errors.ModelRefused,
    Fault.LENGTH: None,
}
STREAM_ENDS = ENDS | dict.fromkeys(
    (Fault.CUT_BODY, Fault.TRUNCATED_STREAM, Fault.ERROR_IN_STREAM), model_errors.ModelAnswerBroken
)
SLOW = {Fault.HANG, Fault.DRIP, Fault.DRIP_HEADERS}
PROVIDERS = ("openai", "anthropic")


@pytest.fixture(scope="module")
def fake() -> Iterator[FakeLLM]:
    with FakeLLM() as running:
        yield running


@pytest.fixture
def fresh() -> Iterator[FakeLLM]:
    with FakeLLM() as running:
        yield running


def test_the_table_names_every_fault() -> None:
    assert set(ENDS) == set(Fault)


@pytest.mark.parametrize(
    "strict", [pytest.param(True, id="strict"), pytest.param(False, id="lenient", marks=pytest.mark.slow)]
)
@pytest.mark.parametrize("streams", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("name", PROVIDERS)
def test_every_fault_ends_in_time_as_an_answer_or_a_typed_error(
    fake: FakeLLM, name: str, streams: bool, strict: bool
) -> None:
    wanted = STREAM_ENDS if streams else ENDS
    tried = [fault for fault in wanted if strict or fault not in SLOW]

    found = {fault: _end(fake, name, fault, streams=streams, strict=strict) for fault in tried}

    assert found == {fault: wanted[fault] for fault in tried}


@pytest.mark.parametrize("streams", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("name", PROVIDERS)
def test_an_answer_has_its_finish_reason_and_is_marked_as_fake(
    fake: FakeLLM, name: str, streams: bool
) -> None:
    whole = ModelCaller(fake, [f"{name}:any-model"], streams=streams).ask()
    cut = ModelCaller(fake, [f"{name}:fake-length"], streams=streams).ask()

    assert (whole.text, whole.finish, whole.is_fake) == (SENTENCE, FinishReason.STOP, True)
    assert (cut.text, cut.finish) == (SENTENCE[: len(SENTENCE) // 2], FinishReason.LENGTH)
    assert whole.model == "fake-any-model"
    assert whole.usage.tokens > 0


@pytest.mark.parametrize("streams", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("name", PROVIDERS)
def test_usage_means_the_same_for_both_providers(fresh: FakeLLM, name: str, streams: bool) -> None:
    fresh.add(Scripted("yes", input_tokens=1000, output_tokens=500, cached_tokens=200))

    usage = ModelCaller(fresh, [f"{name}:fake-model"], streams=streams).ask().usage

    assert (usage.input_tokens, usage.output_tokens, usage.cached_tokens) == (1000, 500, 200)


@pytest.mark.parametrize("fault", [Fault.RATE_LIMITED, Fault.SERVER_ERROR, Fault.RESET, Fault.HANG])
@pytest.mark.parametrize("name", PROVIDERS)
def test_the_sdks_do_not_retry(fresh: FakeLLM, name: str, fault: Fault) -> None:
    fresh.fail(fault)

    with pytest.raises(ModelError):
        ModelCaller(fresh, [f"{name}:fake-model"]).ask(seconds=SLOW_SECONDS)

    assert len(fresh.received) == 1


@pytest.mark.parametrize(
    ("text", "seconds"), [("7", 7.0), ("1.5", 1.5), ("4294967", 4294967.0), ("-3", None), ("soon", None)]
)
@pytest.mark.parametrize("name", PROVIDERS)
def test_a_requested_pause_is_reported_without_sleeping(
    fresh: FakeLLM, name: str, text: str, seconds: float | None
) -> None:
    fresh.fail(Fault.RATE_LIMITED, retry_after=text)

    with pytest.raises(model_errors.ModelRateLimited) as refused:
        ModelCaller(fresh, [f"{name}:fake-model"]).ask()

    assert refused.value.details.get("retry_after") == seconds


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "Sun, 22 Nov 2026 12:00:30 GMT"}, 30.0),
        ({"retry-after": "Sun, 22 Nov 2026 11:00:00 GMT"}, 0.0),
        ({"retry-after-ms": "250", "retry-after": "9"}, 0.25),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "Thu, 99 Foo 99999 00:00:00 GMT"}, None),
        ({}, None),
    ],
)
def test_retry_after_is_parsed_in_all_its_forms(headers: dict[str, str], seconds: float | None) -> None:
    noon = datetime(2026, 11, 22, 12, tzinfo=UTC).timestamp()

    assert retry_after_seconds(headers, now=noon) == seconds


@pytest.mark.parametrize("name", PROVIDERS)
def test_models_are_reached_through_the_proxy_of_the_environment(
    fresh: FakeLLM, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", fresh.url)
    monkeypatch.setenv("no_proxy", "")
    base_url = "http://models.invalid/v1" if name == "openai" else "http://models.invalid"
    opened = provider(fresh, name, url=base_url)

    answer = opened.send(ModelRequest(HELLO, 10, time.monotonic() + 5), "fake-model")

    assert answer.text == SENTENCE
    assert fresh.received[0].path.startswith("http://models.invalid/v1/")


def test_tls_settings_are_shared_unless_other_certificates_are_trusted(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    usual = DeadlineTransport()._tls
    again = DeadlineTransport()._tls
    monkeypatch.setenv("SSL_CERT_FILE", str(make_certificate(tmp_path)))

    assert again is usual
    assert DeadlineTransport()._tls is not usual


def test_an_answer_is_never_longer_than_its_limit(fresh: FakeLLM) -> None:
    fresh.answer("x" * MAX_ANSWER_BYTES)

    with pytest.raises(model_errors.ModelAnswerBroken, match="longer"):
        ModelCaller(fresh).ask()


def test_an_unreachable_server_is_unavailable_and_costs_nothing() -> None:
    with FakeLLM() as gone:
        caller = ModelCaller(gone)

    with pytest.raises(model_errors.ModelUnavailable, match="can't be reached") as refused:
        caller.ask()

    assert refused.value.retryable
    assert not refused.value.may_have_cost


def test_an_error_keeps_its_class_and_details_when_pickled(fresh: FakeLLM) -> None:
    fresh.fail(Fault.RATE_LIMITED, retry_after="3")
    with pytest.raises(model_errors.ModelRateLimited) as refused:
        ModelCaller(fresh).ask()

    copy = pickle.loads(pickle.dumps(refused.value))

    assert type(copy) is model_errors.ModelRateLimited
    assert (copy.message, copy.details) == (refused.value.message, refused.value.details)
    assert copy.details["retry_after"] == 3.0


def test_an_api_key_that_a_provider_echoes_is_not_in_the_error(fresh: FakeLLM) -> None:
    fresh.fail(Fault.UNAUTHORISED)

    with pytest.raises(model_errors.ModelUnauthorised) as refused:
        ModelCaller(fresh).ask()

    assert str(refused.value) == "openai fake-model answered 401"


@pytest.mark.parametrize(("package", "major"), [("openai", 3), ("anthropic", 2), ("httpx2", 2)])
def test_the_installed_sdks_have_the_expected_major_versions(package: str, major: int) -> None:
    assert int(version(package).partition(".")[0]) == major


def test_no_process_loads_an_sdk_before_a_provider_is_built() -> None:
    script = "import orchestrator.bootstrap, api.app, workers, sys; print(*sys.modules)"

    loaded = set(
        subprocess.run([sys.executable, "-c", script], capture_output=True, text=True).stdout.split()
    )

    assert "orchestrator.llm.model_chain" in loaded
    assert not loaded & {"openai", "anthropic", "httpx2", "genai_prices"}


def _end(fake: FakeLLM, name: str, fault: Fault, *, streams: bool, strict: bool) -> type[Exception] | None:
    caller = ModelCaller(fake, [f"{name}:fake-{fault}"], streams=streams, strict=strict)
    seconds = SLOW_SECONDS if fault in SLOW else 10
    started = time.monotonic()
    try:
        answer = caller.ask(seconds=seconds)
    except Exception as error:
        assert time.monotonic() - started < seconds + 1
        return type(error)
    finally:
        caller.models.close()
    assert answer.text
    return None
