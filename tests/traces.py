"""Keeps the spans of this process in memory, and shows them as a tree."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from orchestrator.observability import tracing
from orchestrator.observability.spans import SpanWriter


class Spans:
    """The spans that were written while `kept` lasted."""

    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()

    @property
    def all(self) -> Sequence[ReadableSpan]:
        """All spans so far, by their start."""
        return sorted(self.exporter.get_finished_spans(), key=lambda span: span.start_time)

    def named(self, name: str) -> list[ReadableSpan]:
        """Return the spans of that name, by their start."""
        return [span for span in self.all if span.name == name]

    def tree(self, *names: str) -> list[str]:
        """Return a line for each span, indented below its parent: its name, these attributes, its links."""
        children: dict[int | None, list[ReadableSpan]] = {}
        known = {span.context.span_id for span in self.all}
        for span in self.all:
            parent = span.parent.span_id if span.parent and span.parent.span_id in known else None
            children.setdefault(parent, []).append(span)

        def lines(parent: int | None, depth: int) -> Iterator[str]:
            for span in children.get(parent, []):
                said = [str(span.attributes[name]) for name in names if name in span.attributes]
                links = ["<-" + str(link.attributes["octollm.link"]) for link in span.links]
                yield "  " * depth + " ".join([span.name, *said, *links])
                yield from lines(span.context.span_id, depth + 1)

        return list(lines(None, 0))


@contextmanager
def kept(*, has_content: bool = False) -> Iterator[Spans]:
    """Write the spans of the block to memory."""
    spans = Spans()
    processor = SimpleSpanProcessor(spans.exporter)
    with tracing.writing(SpanWriter(processor, resource=Resource({}), has_content=has_content)):
        yield spans
