"""The trace that a task leaves in OpenTelemetry, from the API over planner, steps and judge to repair and retry."""

from collections.abc import Callable, Iterator
from hashlib import sha256
from typing import Any
from uuid import uuid4

import pytest
from celery.app.trace import build_tracer
from opentelemetry.trace import SpanKind

from orchestrator.models.execution_state import StepKind
from orchestrator.models.trace_context import TraceContext
from orchestrator.observability.spans import SCHEMA_URL
from orchestrator.queue.app import TASK_NAMES
from tests.acceptance.plans import collect
from tests.fake_llm.faults import Fault
from tests.fake_llm.server import FakeLLM
from tests.integration.api.conftest import Caller
from tests.integration.kit import Engineer
from tests.traces import Spans, kept
from workers.runtime import process
from workers.sweeper import Sweeper
from workers.tasks import app

CALLER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
_DUE = """SELECT id, kind, name, chord_id FROM steps
          WHERE task_id = %(task)s AND state = 'queued' ORDER BY round, path_length DESC, name LIMIT 1"""


class Traced:
    """The API and one worker in this process, which keep their spans in memory; the models are fake ones."""

    def __init__(self, engineer: Engineer, call: Caller, fake: FakeLLM, spans: Spans) -> None:
        self.engineer = engineer
        self.call = call
        self.fake = fake
        self.spans = spans

    def submit(self, *steps: dict[str, Any], headers: dict[str, str] | None = None, **contract: Any) -> str:
        """Submit a task that the model plans with these steps; return its id."""
        self.fake.answer({"rationale": "", "confidence": 1, "steps": list(steps)})
        return self.post({"goal": "Do the odd thing", "cache": {"mode": "bypass"}, **contract}, headers)

    def post(self, contract: dict[str, Any], headers: dict[str, str] | None = None) -> str:
        """Submit a task and return its id."""
        reply = self.call("POST", "/v1/tasks", json=contract, headers=headers or {})
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

    def workflows(self) -> dict[str, tuple[Any, Any]]:
        """Return {task: (status, error)} of the tasks' own spans; fails if a task has two."""
        found = [span.attributes for span in self.spans.named("invoke_workflow octollm")]
        told = {
            str(one["octollm.task.id"]): (one["octollm.task.status"], one.get("error.type")) for one in found
        }
        assert len(told) == len(found)
        return told


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeLLM]:
    with FakeLLM() as running:
        monkeypatch.setenv("OPENAI_API_KEY", "k")
        monkeypatch.setenv("OPENAI_BASE_URL", running.openai_url)
        monkeypatch.setenv("LLM_CHAIN", "openai:fake-model")
        yield running


@pytest.fixture
def traced(engineer: Engineer, call: Caller, fake: FakeLLM) -> Iterator[Traced]:
    process.start(app, service="tests")
    with kept() as spans:
        yield Traced(engineer, call, fake, spans)
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
TREE_OF_A_REPLAN = """\
invoke_workflow octollm
  plan $plan 0 1
    chat fake-model
  invoke_agent retriever count 1 1
  invoke_agent judge $judge 1 1
  plan $plan 1 1 <-replan
    chat fake-model
  invoke_agent retriever count 2 1
  invoke_agent judge $judge 2 1
"""
CALL = {
    "gen_ai.operation.name": "chat",
    "gen_ai.provider.name": "openai",
    "gen_ai.request.model": "fake-model",
    "gen_ai.response.model": "fake-model",
    "gen_ai.response.finish_reasons": ("stop",),
    "gen_ai.output.type": "json",
    "octollm.cost.usd": 0.0,
    "server.address": "127.0.0.1",
}


def test_a_task_leaves_one_tree_from_its_submission_to_its_end(traced: Traced) -> None:
    task_id = traced.submit(COUNT, WRITE, headers={"traceparent": CALLER})
    traced.fake.fail(Fault.SERVER_ERROR)
    traced.fake.answer({"text": "Hello, all."}, {"text": "Hello to you all."})

    traced.work(task_id)

    assert traced.engineer.task(task_id).status == "completed"
    assert traced.spans.tree(*SAID) == TREE.splitlines()
    _, trace_id, parent_id, _ = CALLER.split("-")
    assert {f"{span.context.trace_id:032x}" for span in traced.spans.all} == {trace_id}
    assert f"{traced.spans.named('invoke_workflow octollm')[0].parent.span_id:016x}" == parent_id
    assert {span.instrumentation_scope.schema_url for span in traced.spans.all} == {SCHEMA_URL}


def test_a_retry_is_a_trace_of_its_own_that_links_to_the_task_which_it_repeats(traced: Traced) -> None:
    first = traced.submit(COUNT, WRITE, headers={"traceparent": CALLER})
    traced.fake.answer({"text": "Hello to you all."}, {"text": "Hello to all of you."})
    traced.work(first)
    traced.spans.exporter.clear()

    again = str(traced.call("POST", f"/v1/tasks/{first}/retry", json={"from_step": "write"}).json["task_id"])
    traced.work(again)

    assert traced.spans.tree(*SAID) == TREE_OF_A_RETRY.splitlines()
    [workflow] = traced.spans.named("invoke_workflow octollm")
    assert workflow.parent is None
    assert f"{workflow.context.trace_id:032x}" == sha256(again.encode()).hexdigest()[:32]
    [link] = workflow.links
    known = TraceContext(CALLER).workflow_of(first)
    assert (f"{link.context.trace_id:032x}", f"{link.context.span_id:016x}") == known[:2]


def test_the_status_of_a_task_names_its_trace(traced: Traced) -> None:
    in_callers = traced.submit(COUNT, headers={"traceparent": CALLER})
    own = traced.submit(COUNT, headers={"traceparent": "00-nonsense-01"})

    found = [traced.call("GET", f"/v1/tasks/{one}").json["trace_id"] for one in (in_callers, own)]

    assert found == [CALLER.split("-")[1], sha256(own.encode()).hexdigest()[:32]]


def test_the_span_of_a_task_lasts_from_its_submission_to_its_end(traced: Traced) -> None:
    task_id = traced.submit(COUNT)
    traced.work(task_id)

    [workflow] = traced.spans.named("invoke_workflow octollm")
    task = traced.engineer.task(task_id)
    assert workflow.start_time == int(task.created_at.timestamp() * 1e6) * 1000
    assert workflow.end_time >= max(span.end_time for span in traced.spans.all)


@pytest.mark.parametrize("flags", ["00", "01"])
def test_a_caller_decides_whether_its_trace_is_recorded(traced: Traced, flags: str) -> None:
    traced.work(traced.submit(COUNT, headers={"traceparent": f"{CALLER[:-2]}{flags}"}))

    assert bool(traced.spans.all) is (flags == "01")


def test_a_task_that_is_cancelled_has_one_span_of_its_own(traced: Traced) -> None:
    task_id = traced.submit(COUNT)

    answers = [traced.call("DELETE", f"/v1/tasks/{task_id}").status_code for _ in range(2)]

    assert answers == [200, 200]
    assert traced.workflows() == {task_id: ("cancelled", "cancelled")}


def test_a_task_past_its_deadline_has_one_span_of_its_own(sweeper: Sweeper, traced: Traced) -> None:
    task_id = traced.submit(COUNT)
    traced.engineer.ask("UPDATE tasks SET deadline_at = now() WHERE id = %(task)s", task=task_id)

    sweeper.end_past_deadline()
    sweeper.end_past_deadline()

    assert traced.workflows() == {task_id: ("failed", "deadline_exceeded")}


def test_a_task_without_budget_has_one_span_of_its_own(traced: Traced) -> None:
    task_id = traced.submit(COUNT, budget={"max_tokens": 1})

    traced.work(task_id)

    assert traced.workflows() == {task_id: ("failed", "budget_exceeded")}
    assert traced.spans.tree("error.type") == [
        "invoke_workflow octollm budget_exceeded",
        "  plan budget_exceeded",
    ]


def test_tasks_that_the_cache_answers_have_one_span_each(traced: Traced) -> None:
    value = str(uuid4())
    is_kept = {"text": "it is kept", "check": {"step": "count", "pointer": "/values", "equals": value}}
    contract = {
        "goal": "Collect a value",
        "plan": {"steps": [collect("count", value)]},
        "acceptance_criteria": [is_kept],
        "cache": {"mode": "default"},
    }
    leader, follower = traced.post(contract), traced.post(contract, {"traceparent": CALLER})
    traced.work(leader)

    hit = traced.post(contract)

    assert traced.workflows() == dict.fromkeys((leader, follower, hit), ("completed", None))
    traces = {
        str(span.attributes["octollm.task.id"]): f"{span.context.trace_id:032x}"
        for span in traced.spans.named("invoke_workflow octollm")
    }
    own = {task: sha256(task.encode()).hexdigest()[:32] for task in (leader, hit)}
    assert traces == own | {follower: CALLER.split("-")[1]}


def test_a_plan_that_is_made_again_links_to_the_judgement_that_asked_for_it(traced: Traced) -> None:
    again = {**COUNT, "acceptance_criteria": [{"text": "two", "check": {"pointer": "/values", "equals": 2}}]}
    task_id = traced.submit(again)
    traced.fake.answer({"rationale": "", "confidence": 1, "steps": [{**again, "inputs": {"values": 2}}]})

    traced.work(task_id)

    assert traced.spans.tree(*SAID) == TREE_OF_A_REPLAN.splitlines()
    [link] = traced.spans.named("plan")[1].links
    assert link.context.span_id == traced.spans.named("invoke_agent judge")[0].context.span_id


def test_the_judge_s_span_has_an_event_for_each_criterion_without_its_text(traced: Traced) -> None:
    criteria = [
        {"text": text, "check": {"step": "count", "pointer": "/values", "equals": value}}
        for text, value in (("Mrs Miller is served", 1), ("Mr Smith is served", 3))
    ]
    plan = {"steps": [collect("count", 1)]}
    traced.work(traced.post({"goal": "x", "plan": plan, "acceptance_criteria": criteria}))

    [judge] = traced.spans.named("invoke_agent judge")
    told = [
        (
            event.name,
            event.attributes["gen_ai.evaluation.score.label"],
            event.attributes["octollm.checked_by"],
        )
        for event in judge.events
    ]
    assert ("gen_ai.evaluation.result", "pass", "rule") in told
    assert ("gen_ai.evaluation.result", "fail", "rule") in told
    assert judge.attributes["octollm.verdict"] == "failed"
    assert "served" not in "".join(span.to_json() for span in traced.spans.all)


def test_what_clients_and_models_say_is_in_no_span(traced: Traced) -> None:
    secret = {**WRITE, "inputs": {"instruction": "Write to Mrs Miller", "text": {"$from": "count"}}}
    task_id = traced.submit(COUNT, secret, goal="Write to Mrs Miller", context="Mrs Miller is ill")
    traced.fake.answer({"text": "Dear Mrs Miller, all the best."})

    traced.work(task_id)

    assert traced.engineer.task(task_id).status == "completed"
    assert "Miller" not in "".join(span.to_json() for span in traced.spans.all)


def test_the_messages_are_in_the_span_of_a_call_if_content_is_asked_for(
    engineer: Engineer, call: Caller, fake: FakeLLM
) -> None:
    process.start(app, service="tests")
    with kept(has_content=True) as spans:
        traced = Traced(engineer, call, fake, spans)
        traced.work(traced.submit(COUNT, goal="Greet Mrs Miller"))
    process.of(app).cancellations.stop()

    chat, *_ = spans.named("chat fake-model")
    assert "Greet Mrs Miller" in str(chat.attributes["gen_ai.input.messages"])
    assert "collect" in str(chat.attributes["gen_ai.output.messages"])


def test_a_call_says_what_it_asked_used_and_cost(traced: Traced) -> None:
    traced.work(traced.submit(COUNT))

    chat, *_ = traced.spans.named("chat fake-model")
    used = [chat.attributes[f"gen_ai.usage.{kind}_tokens"] for kind in ("input", "output")]
    assert chat.kind is SpanKind.CLIENT
    assert all(isinstance(count, int) and count > 0 for count in used)
    assert {name: chat.attributes[name] for name in CALL} == CALL
    assert chat.attributes["server.port"] == int(traced.fake.openai_url.rsplit(":", 1)[1].split("/")[0])
