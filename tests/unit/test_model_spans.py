"""The spans of calls to models, and that their SDKs write none beside ours."""

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from tests.fake_llm.faults import Fault
from tests.fake_llm.server import FakeLLM
from tests.llm_kit import ModelCaller
from tests.traces import kept

SCHEMA = {"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"]}


def test_each_call_of_a_failover_and_of_a_correction_is_a_span() -> None:
    with FakeLLM() as fake, kept() as spans:
        fake.fail(Fault.SERVER_ERROR)
        fake.answer("not JSON", {"ok": True})
        ModelCaller(fake, ("anthropic:fake-first", "openai:fake-second")).ask(SCHEMA)

    assert spans.tree("gen_ai.provider.name", "error.type") == [
        "chat fake-first anthropic model_unavailable",
        "chat fake-second openai",
        "chat fake-second openai",
    ]
    assert spans.all[0].status.status_code is StatusCode.ERROR
    assert [span.status.description for span in spans.all] == [None] * 3


@pytest.mark.parametrize("model", ["anthropic:fake-model", "openai:fake-model"])
@pytest.mark.parametrize("streams", [False, True])
def test_an_sdk_sends_no_traceparent_and_writes_no_span_though_there_is_a_global_provider(
    model: str, streams: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", provider)

    with FakeLLM() as fake, kept() as spans, provider.get_tracer("test").start_as_current_span("outer"):
        fake.answer("Hello.")
        ModelCaller(fake, (model,), streams=streams).ask()

    [request] = fake.received
    assert "traceparent" not in request.headers
    assert [span.name for span in exporter.get_finished_spans()] == ["outer"]
    assert [span.name for span in spans.all] == ["chat fake-model"]
