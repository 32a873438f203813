"""Traces of real processes, sent to a collector of the test's own: across processes, recycled children and shutdown."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.acceptance.conftest import client_of
from tests.acceptance.model_stack import asking
from tests.acceptance.plans import collect, wait
from tests.fake_llm.server import FakeLLM
from tests.waiting import wait_until

pytestmark = pytest.mark.slow

# no batch is sent for its age: what arrives was sent because a process ended
NEVER = "3600000"


class Sent(NamedTuple):
    """A span as the collector got it, and the service that sent it."""

    service: str
    span: Any


class Collector:
    """Takes spans by OTLP over HTTP."""

    def __init__(self) -> None:
        self.spans: list[Sent] = []
        self.headers: list[dict[str, str]] = []
        self.url = ""

    def of(self, task_id: str) -> list[Sent]:
        """Return the spans of a task's trace, by their start."""
        trace_id = bytes.fromhex(sha256(task_id.encode()).hexdigest()[:32])
        found = [sent for sent in self.spans if sent.span.trace_id == trace_id]
        return sorted(found, key=lambda sent: sent.span.start_time_unix_nano)

    def take(self, body: bytes) -> None:
        """Keep the spans of a request."""
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            named = {item.key: item.value.string_value for item in resource.resource.attributes}
            for scope in resource.scope_spans:
                self.spans += [Sent(named["service.name"], span) for span in scope.spans]


@contextmanager
def collecting() -> Iterator[Collector]:
    """Run a collector on a free port."""
    collector = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            assert self.path == "/v1/traces"
            collector.take(body)
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # the standard library's name
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        collector.url = f"http://127.0.0.1:{server.server_port}"
        yield collector
        server.shutdown()


def names(sent: list[Sent]) -> list[tuple[str, str]]:
    """Return the service and the name of each span."""
    return sorted((one.service, one.span.name) for one in sent)


def test_every_span_of_every_process_reaches_the_collector(fake: FakeLLM) -> None:
    with collecting() as collector:
        with asking(
            fake,
            OTEL_EXPORTER_OTLP_ENDPOINT=collector.url,
            OTEL_BSP_SCHEDULE_DELAY=NEVER,
            WORKER_FLAGS="--max-tasks-per-child 1",
        ) as stack:
            client = client_of(stack, tenant="traced")
            task_id = client.submit(plan={"steps": [collect("a", 1), wait("b", 0, "a")]})
            client.end_of(task_id)
            wait_until(lambda: collector.of(task_id), 30, "the span of the child that was replaced")
            recycled = names(collector.of(task_id))
            long = client.submit(plan={"steps": [wait("c", 60)]})
            client.call("DELETE", f"/v1/tasks/{long}")
        ended, cancelled = collector.of(task_id), collector.of(long)

    assert recycled == [("octollm.executor", "invoke_agent executor")]
    assert names(ended) == [
        ("octollm.executor", "invoke_agent executor"),
        ("octollm.judge", "invoke_agent judge"),
        ("octollm.judge", "invoke_workflow octollm"),
        ("octollm.planner", "plan"),
        ("octollm.retriever", "invoke_agent retriever"),
    ]
    [workflow] = [one.span for one in ended if one.span.name == "invoke_workflow octollm"]
    assert {one.span.parent_span_id for one in ended} == {b"", workflow.span_id}
    assert min(one.span.start_time_unix_nano for one in ended) == workflow.start_time_unix_nano
    assert ("octollm.web", "invoke_workflow octollm") in names(cancelled)
