"""When traces are on, what a process does without them, and the ids that follow from a task's."""

import os
import subprocess
import sys
from hashlib import sha256

import pytest

from orchestrator.models.errors import SettingsError
from orchestrator.models.trace_context import SpanRef, TraceContext, attempt_span_id, parse_traceparent
from orchestrator.observability.span_export import resource_of
from orchestrator.observability.tracing import TraceSettings, read_settings

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
COLLECTOR = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"}


@pytest.mark.parametrize(
    ("environ", "exporter"),
    [
        ({}, None),
        (COLLECTOR, "otlp"),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:4318/v1/traces"}, "otlp"),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, "otlp"),
        ({"OTEL_TRACES_EXPORTER": " Console "}, "console"),
        ({**COLLECTOR, "OTEL_TRACES_EXPORTER": "none"}, None),
        ({**COLLECTOR, "OTEL_SDK_DISABLED": "true"}, None),
        ({**COLLECTOR, "OTEL_SDK_DISABLED": "false"}, "otlp"),
        ({**COLLECTOR, "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}, "otlp"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "  "}, None),
    ],
)
def test_the_standard_variables_switch_traces_on(environ: dict[str, str], exporter: str | None) -> None:
    found = read_settings(environ, service="octollm.web")

    assert found == (None if exporter is None else TraceSettings(exporter, "octollm.web"))


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        ({"OTEL_TRACES_EXPORTER": "jaeger"}, "OTEL_TRACES_EXPORTER is wrong: 'jaeger' is not one of otlp"),
        ({**COLLECTOR, "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "'grpc' is not http/protobuf"),
    ],
)
def test_a_variable_that_asks_for_what_there_is_not_is_named(environ: dict[str, str], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        read_settings(environ, service="octollm.web")


@pytest.mark.parametrize(
    ("mode", "has_content"),
    [
        ("", False),
        ("NO_CONTENT", False),
        ("EVENT_ONLY", False),
        ("SPAN_ONLY", True),
        ("span_and_event", True),
    ],
)
def test_content_is_captured_only_if_it_is_asked_for(mode: str, has_content: bool) -> None:
    environ = {**COLLECTOR, "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": mode}

    assert read_settings(environ, service="s") == TraceSettings("otlp", "s", has_content)


def test_without_the_variables_nothing_of_opentelemetry_is_imported() -> None:
    program = """
        import orchestrator.process.lean as lean
        lean.start_lean()
        import workers.tasks, sys
        from orchestrator.observability import tracing
        tracing.configure("worker")
        with tracing.tool("ruff", kind="function"):
            print(tracing.writer(), tracing.log_fields("task_1", None), tracing.trace_id_of("task_1", None))
        tracing.close()
        print([name for name, module in sys.modules.items() if name.startswith("opentelemetry") and module])
    """

    assert _output(program) == ["None {} None", "[]"]


def test_a_process_whose_packages_are_missing_says_what_to_install() -> None:
    program = """
        import sys
        sys.modules["opentelemetry.sdk.trace.export"] = None
        from orchestrator.observability import tracing
        try:
            tracing.configure("worker")
        except Exception as error:
            print(type(error).__name__, error)
    """

    [said] = _output(program, **COLLECTOR)

    assert said.startswith(
        "SettingsError The OTEL_* variables switch traces on, and their packages are missing"
    )
    assert "pip install 'octollm-orchestrator[otel]'" in said


def test_each_forked_child_has_a_thread_of_its_own_and_its_parent_has_none() -> None:
    program = """
        import os, threading
        from orchestrator.observability import tracing
        tracing.configure("worker")
        print(threading.active_count(), flush=True)
        for _ in range(2):
            child = os.fork()
            if child == 0:
                tracing.open_early()
                print([thread.name for thread in threading.enumerate()][1:], flush=True)
                tracing.close()
                print(threading.active_count(), flush=True)
                os._exit(0)
            os.waitpid(child, 0)
    """

    alone, *in_children = _output(program, OTEL_TRACES_EXPORTER="console")

    assert alone == "1"
    assert in_children == ["['OtelBatchSpanRecordProcessor']", "1"] * 2


@pytest.mark.parametrize(
    ("environ", "named"),
    [
        ({}, "octollm.judge"),
        ({"OTEL_SERVICE_NAME": "ours"}, "ours"),
        ({"OTEL_RESOURCE_ATTRIBUTES": "service.name=ours,team=a"}, "ours"),
        ({"OTEL_RESOURCE_ATTRIBUTES": "team=a"}, "octollm.judge"),
    ],
)
def test_the_resource_names_the_kind_of_process_unless_the_operator_does(
    environ: dict[str, str], named: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, text in environ.items():
        monkeypatch.setenv(name, text)

    found = resource_of(TraceSettings("otlp", "octollm.judge")).attributes

    assert (found["service.name"], found.get("team")) == (named, "a" if "team=a" in str(environ) else None)


def test_a_collector_that_is_away_neither_slows_nor_fails_what_is_traced() -> None:
    program = """
        import sys, time
        from orchestrator.observability import log, tracing
        tracing.configure("worker")
        began = time.process_time()
        for number in range(3_000):
            with tracing.tool("ruff", kind="function"):
                pass
        print(time.process_time() - began)
        began = time.monotonic()
        tracing.close(1.0)
        print(time.monotonic() - began)
    """

    # nobody listens at port 1
    tracing_seconds, closing_seconds = _output(program, OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:1")

    assert float(tracing_seconds) < 10
    assert float(closing_seconds) < 5


@pytest.mark.parametrize(
    ("header", "span"),
    [
        (f"00-{TRACE}-{SPAN}-01", SpanRef(TRACE, SPAN)),
        (f"00-{TRACE}-{SPAN}-00", SpanRef(TRACE, SPAN, is_sampled=False)),
        (f"00-{TRACE}-{SPAN}-03", SpanRef(TRACE, SPAN)),
        (f"cc-{TRACE}-{SPAN}-01-what-is-new", SpanRef(TRACE, SPAN)),
        (None, None),
        ("", None),
        (f"00-{TRACE}-{SPAN}-01-more", None),
        (f"ff-{TRACE}-{SPAN}-01", None),
        (f"00-{TRACE.upper()}-{SPAN}-01", None),
        (f"00-{'0' * 32}-{SPAN}-01", None),
        (f"00-{TRACE}-{'0' * 16}-01", None),
        (f"00-{TRACE}-{SPAN}-1", None),
        (f"00-{TRACE}-{SPAN}", None),
        (f" 00-{TRACE}-{SPAN}-01", None),
        (f"cc-{TRACE}-{SPAN}-01-{'x' * 300}", None),
    ],
)
def test_a_traceparent_counts_only_if_it_is_well_formed(header: str | None, span: SpanRef | None) -> None:
    assert parse_traceparent(header) == span


def test_the_ids_follow_from_the_task_and_the_row() -> None:
    digest = sha256(b"task_1").hexdigest()

    assert TraceContext().workflow_of("task_1") == SpanRef(digest[:32], digest[32:48])
    assert TraceContext(f"00-{TRACE}-{SPAN}-01").workflow_of("task_1") == SpanRef(TRACE, digest[32:48])
    assert attempt_span_id("row", 1) == sha256(b"row/1").hexdigest()[:16] != attempt_span_id("row", 2)


def _output(program: str, **environ: str) -> list[str]:
    """Run a program in a process of its own with these OTEL_* variables, and return the lines that it prints."""
    kept = {name: text for name, text in os.environ.items() if not name.startswith("OTEL_")}
    lines = program.splitlines()
    code = "\n".join(line[8:] for line in lines)
    ended = subprocess.run(
        [sys.executable, "-c", code], env={**kept, **environ}, capture_output=True, text=True, timeout=60
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.splitlines()
