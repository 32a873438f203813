"""Sends the spans of this process by OpenTelemetry's SDK, in the background; imported only if traces are on."""

import logging
import os
import socket
import time
from collections.abc import Sequence

import structlog
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import (
    BatchSpanProcessor,
    ConsoleSpanExporter,
    SpanExporter,
    SpanExportResult,
)

from orchestrator.observability.spans import SpanWriter
from orchestrator.observability.tracing import TraceSettings

_SILENT_SECONDS = 60.0

log = structlog.get_logger(__name__)


class _QuietExporter(SpanExporter):
    """Passes spans on, and logs at most once a minute that they could not be sent."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter
        self._silent_until = 0.0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = self._exporter.export(spans)
        if result is not SpanExportResult.SUCCESS and time.monotonic() >= self._silent_until:
            self._silent_until = time.monotonic() + _SILENT_SECONDS
            log.warning("traces.not_sent", spans=len(spans), silent_seconds=_SILENT_SECONDS)
        return result

    def shutdown(self) -> None:
        self._exporter.shutdown()


def open_writer(settings: TraceSettings) -> SpanWriter:
    """Return the writer for this process; starts the thread that sends the spans."""
    # the SDK logs each span that it drops
    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL + 1)
    processor = BatchSpanProcessor(_QuietExporter(_exporter(settings)))
    return SpanWriter(processor, resource=resource_of(settings), has_content=settings.has_content)


def resource_of(settings: TraceSettings) -> Resource:
    """Return what names this process in a trace: OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES come first."""
    own = Resource(
        {SERVICE_NAME: settings.service, "service.instance.id": f"{socket.gethostname()}:{os.getpid()}"}
    )
    given = Resource.create()
    chosen = {
        name: value
        for name, value in given.attributes.items()
        if name != SERVICE_NAME or not str(value).startswith("unknown_service")
    }
    return own.merge(Resource(chosen))


def _exporter(settings: TraceSettings) -> SpanExporter:
    if settings.exporter == "console":
        return ConsoleSpanExporter()
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # noqa: PLC0415 - 0.1 s, for this one only
        OTLPSpanExporter,
    )

    return OTLPSpanExporter()
