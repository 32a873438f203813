"""The trace that a task leaves in OpenTelemetry, from the API over planner, steps and judge to repair and retry."""

from collections.abc import Callable, Iterator, Sequence
from hashlib import sha256
from typing import Any

import pytest
from celery.app.trace import build_tracer
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from orchestrator.models.execution_state import StepKind
from orchestrator.models.trace_context import TraceContext
from orchestrator.observability import tracing
from orchestrator.observability.spans import SCHEMA_URL, SpanWriter
from orchestrator.queue.app import TASK_NAMES
from orchestrator.settings import Settings
from tests.acceptance.plans import collect
from tests.fake_llm.faults import Fault
from tests.fake_llm.server import FakeLLM
from tests.integration.api.conftest import Caller
from tests.integration.kit import Engineer
from workers.runtime import process
from workers.tasks import app

CALLER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
_DUE = """SELECT id, kind, name, chord_id FROM steps
          WHERE task_id = %(task)s AND state = 'queued' ORDER BY round, path_length DESC, name LIMIT 1"""


class Traced:
    """The API and one worker in this process, which keep their spans in memory; the model is the fake one."""

    def __init__(self, engineer: Engineer, call: Caller, fake: FakeLLM) -> None:
        self.engineer = engineer
        self.call = call
        self.fake = fake
        self.exporter = InMemorySpanExporter()

    @property
    def spans(self) -> Sequence[ReadableSpan]:
        """All spans so far, in the order in which they ended."""
        return self.exporter.get_finished_spans()

    def submit(self, *steps: dict[str, Any], headers: dict[str, str] | None = None, **contract: Any) -> str:
        """Submit a task that the model plans with these steps; return its id."""
        self.fake.answer({"rationale": "", "confidence": 1, "steps": list(steps)})
        body = {"goal": "Do the odd thing", "cache": {"mode": "bypass"}, **contract}
        reply = self.call("POST", "/v1/tasks", json=body, headers=headers or {})
        assert reply.status_code == 202, reply.json
        return str(reply.json["task_id"])

    def work(self, task_id: str) -> None:
        """Run every row of the task through Celery's tracer and the real hooks, until none is due."""
        for _ in range(20):
            # a retry's pause is left out
            self.engineer.ask("UPDATE steps SET not_before = now() WHERE task_id = %(task)s", task=task_id)
            rows = self.engineer.ask(_DUE, task=task_id)
            if not rows:
                return
            row = rows[0]
            task = app.tasks[TASK_NAMES[StepKind(row["kind"])]]
            request = {"id": row["id"], "task": task.name, "group": row["chord_id"], "delivery_info": {}}
            tracer: Callable[..., Any] = build_tracer(task.name, task, app=app)
            tracer(row["id"], (task_id, row["name"]), {}, request)
        raise AssertionError(f"{task_id} does not end: {self.engineer.states(task_id)}")

    def tree(self, *names: str) -> list[str]:
        """Return a line for each span: indented below its parent, its name and what it says of these attributes."""
        children: dict[int | None, list[ReadableSpan]] = {}
        known = {span.context.span_id for span in self.spans}
        for span in sorted(self.spans, key=lambda span: span.start_time):
            parent = span.parent.span_id if span.parent and span.parent.span_id in known else None
            children.setdefault(parent, []).append(span)

        def lines(parent: int | None, depth: int) -> Iterator[str]:
            for span in children.get(parent, []):
                said = [str(span.attributes[name]) for name in names if name in span.attributes]
                links = ["<-" + str(link.attributes["octollm.link"]) for link in span.links]
                yield "  " * depth + " ".join([span.name, *said, *links])
                yield from lines(span.context.span_id, depth + 1)

        return list(lines(None, 0))

    def named(self, name: str) -> list[ReadableSpan]:
        """Return the spans of that name, by their start."""
        return sorted((span for span in self.spans if span.name == name), key=lambda span: span.start_time)


@pytest.fixture
def traced(
    engineer: Engineer, call: Caller, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Traced]:
    with FakeLLM() as fake:
        monkeypatch.setenv("OPENAI_API_KEY", "k")
        monkeypatch.setenv("OPENAI_BASE_URL", fake.openai_url)
        monkeypatch.setenv("LLM_CHAIN", "openai:fake-model")
        monkeypatch.setenv("LLM_PRICES", '{"openai:fake-model": {"input": 1, "output": 2}}')
        process.start(app, service="tests")
        made = Traced(engineer, call, fake)
        writer = SpanWriter(SimpleSpanProcessor(made.exporter), resource=Resource({}))
        with tracing.writing(writer):
            yield made
        process.of(app).cancellations.stop()


COUNT = {"description": "", **collect("count", 1)}
WRITE = {
    "id": "write",
    "description": "",
    "arm": "writer",
    "action": "draft",
    "inputs": {"instruction": "Say hello", "text": {"$from": "count"}},
    "depends_on": ["count"],
    "acceptance_criteria": [{"text": "three words", "check": {"pointer": "/words", "at_least": 3}}],
}


# what a span says: the step, the round, the attempt, and the error that it ended with
SAID = ("octollm.step", "octollm.round", "octollm.attempt", "error.type")
TREE = """\
invoke_workflow octollm
  plan $plan 0 1
    chat fake-model
  invoke_agent retriever count 1 1
  invoke_agent writer write 1 1 model_unavailable
    chat fake-model model_unavailable
  invoke_agent writer write 1 2 <-attempt
    chat fake-model
  invoke_agent judge $judge 1 1
  invoke_agent writer write 2 1 <-repair
    chat fake-model
  invoke_agent judge $judge 2 1
"""
TREE_OF_A_RETRY = """\
invoke_workflow octollm <-retry
  plan $plan 0 1
  invoke_agent writer write 1 1
    chat fake-model
  invoke_agent judge $judge 1 1
"""


def test_a_task_leaves_one_tree_from_its_submission_to_its_end(traced: Traced) -> None:
    task_id = traced.submit(COUNT, WRITE, headers={"traceparent": CALLER})
    traced.fake.fail(Fault.SERVER_ERROR)
    traced.fake.answer({"text": "Hello, all."}, {"text": "Hello to you all."})

    traced.work(task_id)

    assert traced.engineer.task(task_id).status == "completed"
    assert traced.tree(*SAID) == TREE.splitlines()
    _, trace_id, parent_id, _ = CALLER.split("-")
    assert {f"{span.context.trace_id:032x}" for span in traced.spans} == {trace_id}
    assert f"{traced.named('invoke_workflow octollm')[0].parent.span_id:016x}" == parent_id
    assert {span.instrumentation_scope.schema_url for span in traced.spans} == {SCHEMA_URL}


def test_a_retry_is_a_trace_of_its_own_that_links_to_the_task_which_it_repeats(traced: Traced) -> None:
    first = traced.submit(COUNT, WRITE, headers={"traceparent": CALLER})
    traced.fake.answer({"text": "Hello to you all."}, {"text": "Hello to all of you."})
    traced.work(first)
    traced.exporter.clear()

    again = str(traced.call("POST", f"/v1/tasks/{first}/retry", json={"from_step": "write"}).json["task_id"])
    traced.work(again)

    assert traced.tree(*SAID) == TREE_OF_A_RETRY.splitlines()
    [workflow] = traced.named("invoke_workflow octollm")
    assert workflow.parent is None
    assert f"{workflow.context.trace_id:032x}" == sha256(again.encode()).hexdigest()[:32]
    [link] = workflow.links
    known = TraceContext(CALLER).workflow_of(first)
    assert (f"{link.context.trace_id:032x}", f"{link.context.span_id:016x}") == known[:2]
