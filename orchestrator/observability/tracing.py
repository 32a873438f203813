"""Traces by OpenTelemetry: off, and not even imported, unless the standard OTEL_* variables switch them on.

The spans of this process are written by `writer()`; see orchestrator.observability.spans. A task's trace:

    invoke_workflow octollm      from the submission to the end; written by the process that ends the task
    ├── plan                     each attempt at a plan
    │   └── chat MODEL           each call to a model
    ├── invoke_agent ARM         each attempt at a step, and at a judgement
    │   ├── chat MODEL
    │   └── execute_tool NAME    each run of a tool in the sandbox, and each call of a tool of an MCP server or HTTP arm
    └── ...
"""

import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from orchestrator.models.errors import SettingsError
from orchestrator.models.execution_state import TaskStatus
from orchestrator.models.trace_context import TraceContext
from orchestrator.process import lean

if TYPE_CHECKING:
    from orchestrator.cache.coalescing import EndedFollower
    from orchestrator.lifecycle.ending import Ended
    from orchestrator.llm.model_call import CallDetails
    from orchestrator.observability.spans import SpanWriter

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_EXPORTERS = ("otlp", "console", "none")
_CONTENT = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"
_WITH_CONTENT = frozenset({"true", "span_only", "span_and_event"})
_CLOSE_SECONDS = 2.0


@dataclass(frozen=True)
class TraceSettings:
    """How this process writes traces: `exporter` is otlp or console, `service` the default of OTEL_SERVICE_NAME."""

    exporter: str
    service: str
    has_content: bool = False


class _Process:
    """The writer of this process; made at its first use, because a forked child needs one of its own."""

    def __init__(self) -> None:
        self.settings: TraceSettings | None = None
        self._writer: SpanWriter | None = None
        self._pid = 0
        self._lock = threading.Lock()
        os.register_at_fork(after_in_child=self._forget)

    def writer(self) -> "SpanWriter | None":
        if self.settings is None:
            return None
        with self._lock:
            if self._writer is None:
                from orchestrator.observability import span_export  # noqa: PLC0415 - only if traces are on

                self._writer = span_export.open_writer(self.settings)
            return self._writer

    def use(self, settings: TraceSettings | None, writer: "SpanWriter | None" = None) -> None:
        self.settings, self._writer = settings, writer

    def take(self) -> "SpanWriter | None":
        with self._lock:
            self.settings, writer, self._writer = None, self._writer, None
        return writer

    def _forget(self) -> None:
        self._writer, self._lock = None, threading.Lock()


_PROCESS = _Process()


def read_settings(environ: Mapping[str, str], *, service: str) -> TraceSettings | None:
    """Return how the variables say to write traces; None if they are off. Raises SettingsError.

    They are on with an exporter or the address of a collector, unless OTEL_SDK_DISABLED is true.
    """
    if _text(environ, "OTEL_SDK_DISABLED") == "true":
        return None
    exporter = _text(environ, "OTEL_TRACES_EXPORTER") or ("otlp" if _first(environ, _ENDPOINTS) else "none")
    if exporter not in _EXPORTERS:
        raise SettingsError(
            f"OTEL_TRACES_EXPORTER is wrong: {exporter!r} is not one of {', '.join(_EXPORTERS)}"
        )
    if exporter == "none":
        return None
    protocol = _first(environ, _PROTOCOLS)
    if exporter == "otlp" and protocol not in ("", "http/protobuf"):
        raise SettingsError(
            f"OTEL_EXPORTER_OTLP_PROTOCOL is wrong: {protocol!r} is not http/protobuf, the only one that OctoLLM speaks"
        )
    return TraceSettings(exporter, service, _text(environ, _CONTENT) in _WITH_CONTENT)


def configure(kind: str, environ: Mapping[str, str] | None = None) -> None:
    """Switch the traces of this process on or off, as the variables say; its spans name the service octollm.KIND.

    Nothing is sent and no thread is started before the first span, so that it may be forked. Raises SettingsError.
    """
    settings = read_settings(os.environ if environ is None else environ, service=f"octollm.{kind}")
    if settings is not None:
        lean.allow("opentelemetry")
        try:
            from orchestrator.observability import span_export  # noqa: F401, PLC0415 - only if traces are on
        except ModuleNotFoundError as error:
            raise SettingsError(
                f"The OTEL_* variables switch traces on, and their packages are missing ({error.name}): run "
                "pip install 'octollm-orchestrator[otel]', or set OTEL_SDK_DISABLED=true"
            ) from None
    _PROCESS.use(settings)


def writer() -> "SpanWriter | None":
    """Return what writes the spans of this process; None if traces are off."""
    return _PROCESS.writer()


def open_early() -> None:
    """Start what sends spans now, rather than at the first span; a process that forks workers must not."""
    writer()


@contextmanager
def writing(writer: "SpanWriter") -> Iterator[None]:
    """Write the spans of this process to `writer` within the block; for tests."""
    _PROCESS.use(TraceSettings("none", ""), writer)
    try:
        yield
    finally:
        _PROCESS.use(None)


def close(seconds: float = _CLOSE_SECONDS) -> None:
    """Send the spans that wait and stop; waits at most `seconds`. Call it before the process ends."""
    open_writer = _PROCESS.take()
    if open_writer is not None:
        thread = threading.Thread(target=open_writer.close, name="traces-close", daemon=True)
        thread.start()
        thread.join(seconds)


def log_fields(task_id: str, context: Mapping[str, Any] | None) -> dict[str, str]:
    """Return the fields that lead from a task's log lines to its trace; {} if traces are off."""
    trace_id = trace_id_of(task_id, context)
    return {"trace_id": trace_id} if trace_id else {}


def trace_id_of(task_id: str, context: Mapping[str, Any] | None) -> str | None:
    """Return the id of a task's trace; None if traces are off."""
    if _PROCESS.settings is None:
        return None
    return TraceContext.from_record(context).trace_id_of(task_id)


def tool(name: str, *, kind: str) -> AbstractContextManager[object]:
    """Return a block that is the span of one call of a tool; `kind` is function, or extension for one elsewhere."""
    spans = writer()
    return nullcontext() if spans is None else spans.tool(name, kind=kind)


def model_called(call: "CallDetails", *, operation: str = "chat") -> None:
    """Write the span of a call to a model; `operation` is chat or embeddings."""
    if (spans := writer()) is not None:
        spans.model_call(call, operation=operation)


def task_ended(ended: "Ended") -> None:
    """Write the span of a task that has ended, and of those that ended with it; call it after the commit."""
    if (spans := writer()) is None:
        return
    tasks: Sequence[Ended | EndedFollower] = (ended, *ended.shared)
    for task in tasks:
        spans.workflow(
            task.task_id,
            task.trace_context,
            created_at=task.created_at,
            status=ended.status.value,
            error_code=ended.error_code,
        )


def task_answered(task_id: str, trace: TraceContext, *, created_at: datetime) -> None:
    """Write the span of a task that the cache answered when it was submitted."""
    if (spans := writer()) is not None:
        spans.workflow(task_id, trace.to_record(), created_at=created_at, status=TaskStatus.COMPLETED.value)


def _text(environ: Mapping[str, str], name: str) -> str:
    return environ.get(name, "").strip().lower()


def _first(environ: Mapping[str, str], names: tuple[str, ...]) -> str:
    return next((text for name in names if (text := _text(environ, name))), "")
