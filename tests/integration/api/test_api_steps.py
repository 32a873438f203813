"""One step over HTTP: inputs, attempts, output, calls to models, decisions and log."""

from typing import Any

import pytest

from orchestrator.chord.database import statement, transaction
from orchestrator.lifecycle import output_offload, requeue
from orchestrator.memory import events
from orchestrator.models.step_result import ResultStatus, StepResult
from orchestrator.models.verdict import Decision
from tests.integration.api.assertions import assert_problem, assert_time
from tests.integration.api.conftest import AsCaller, Caller
from tests.integration.kit import TENANT, Engineer, done, verdict, wait_step
from tests.integration.test_loops import found, run

SHA = "a" * 64


def collect(name: str, **inputs: Any) -> dict[str, Any]:
    return {"id": name, "arm": "retriever", "action": "collect", "inputs": {"values": inputs}}


def step(call: Caller, task_id: str, name: str, query: str = "") -> dict[str, Any]:
    answer = call("GET", f"/v1/tasks/{task_id}/steps/{name}{query}")
    assert answer.status_code == 200, answer.get_data(as_text=True)
    return dict(answer.json)


def test_inputs_are_shown_as_planned_and_as_the_arm_got_them(call: Caller, engineer: Engineer) -> None:
    task_id = engineer.start(collect("a", n=1), collect("b", x=[{"$from": "a", "pointer": "/values/n"}]))
    planned = step(call, task_id, "b")
    engineer.do(task_id, "a", output={"summary": "s", "values": {"n": 41}})

    seen = step(call, task_id, "b")

    assert planned["resolved"] is None
    assert planned["unresolved"] == "step a, which the inputs refer to, has no output"
    assert seen["inputs"]["value"] == {"values": {"x": [{"$from": "a", "pointer": "/values/n"}]}}
    assert seen["resolved"]["value"] == {"values": {"x": [41]}}
    assert seen["references"] == [
        {
            "path": "/values/x/0",
            "step_id": "a",
            "pointer": "/values/n",
            "from": {"task_id": task_id, "step_id": "a", "round": 1},
        }
    ]


def test_each_attempt_has_worker_times_outcome_and_error(call: Caller, engineer: Engineer) -> None:
    task_id = engineer.start(wait_step("a"))
    error = {"code": "tool_failed", "message": "it broke", "retryable": True, "details": {}}
    first = engineer.take(task_id, "a", owner="host:1")
    with transaction(engineer.engine) as conn:
        assert requeue.retry_step(conn, first, error=error, delay_seconds=0.0)
    running = engineer.take(task_id, "a", owner="host:2")
    during = step(call, task_id, "a")
    engineer.store(
        running, StepResult(ResultStatus.DONE, output={"summary": "s"}, provenance={"version": "1"})
    )

    seen = step(call, task_id, "a")

    assert [one["outcome"] for one in during["attempts"]] == ["retried", "running"]
    assert during["attempts"][1]["ended_at"] is None
    failed, ended = seen["attempts"]
    assert (failed["worker"], failed["outcome"], failed["error"]) == ("host:1", "retried", error)
    assert (ended["worker"], ended["outcome"], ended["error"]) == ("host:2", "done", None)
    assert ended["provenance"] == {"version": "1"}
    for attempt in seen["attempts"]:
        assert_time(attempt["started_at"])
        assert_time(attempt["ended_at"])
        assert isinstance(attempt["duration_ms"], int)
    assert seen["output"] == {
        "value": {"summary": "s"},
        "size_bytes": 16,
        "preview": None,
        "artifact_id": None,
        "href": None,
    }


def test_calls_to_models_name_prompt_model_tokens_and_failover(call: Caller, engineer: Engineer) -> None:
    task_id = engineer.start(wait_step("a"))
    claim = engineer.take(task_id, "a")
    calls = [
        _call("openai", "one", "model_rate_limited", called=False),
        _call("anthropic", "two", "ok"),
        _call("anthropic", "two", "ok"),
    ]
    record = {
        "step": "a", "step_id": claim.id, "attempt": 1, "work": "plan", "purpose": "planner@9.9.9",
        "provider": "anthropic", "model": "two", "fake": False, "form": "json", "finish": "stop",
        "input_tokens": 10, "output_tokens": 2, "cost_dollars": None, "attempts": calls,
    }  # fmt: skip
    with statement(engineer.engine) as conn:
        events.write(conn, task_id, [], round_number=1, decisions={"model": record})
    engineer.store(claim, done())

    [asked] = step(call, task_id, "a")["model_calls"]

    assert asked["prompt"] == {"name": "planner", "version": "9.9.9", "sha256": None}
    assert (asked["model"], asked["input_tokens"], asked["cost_dollars"]) == ("two", 10, None)
    assert (asked["failover"], asked["corrections"], asked["calls"]) == (True, 1, calls)


def test_a_large_output_is_a_beginning_and_a_file(call: Caller, engineer: Engineer) -> None:
    task_id = engineer.start(collect("a"), collect("b", x={"$from": "a", "pointer": "/values/t"}))
    result = done({"summary": "large", "values": {"t": "é" * 200_000}})
    content = output_offload.large_output(result, name="a", max_bytes=10_000_000)
    assert content is not None
    with transaction(engineer.engine) as conn:
        stored = output_offload.offload(conn, TENANT, result, name="a", content=content)
    engineer.store(engineer.take(task_id, "a"), stored)

    output = step(call, task_id, "a")["output"]

    assert output["value"] is None
    assert output["preview"].startswith('{"summary": "large", "values": {"t": "éé')
    assert len(output["preview"].encode()) <= 16 * 1024
    assert output["size_bytes"] == len(content)
    assert call("GET", output["href"]).get_data() == content
    assert step(call, task_id, "b")["unresolved"] == "the output of a is a file"


def test_a_reused_step_leads_to_the_row_that_did_the_work(call: Caller, engineer: Engineer) -> None:
    task_id = engineer.start(collect("a", n=1), collect("b", x={"$from": "a", "pointer": "/values/n"}))
    for name in ("a", "b"):
        engineer.do(task_id, name, output={"summary": name, "values": {"n": 1}})
    engineer.judge(task_id, verdict(Decision.PASSED))
    again = engineer.retry(task_id)

    seen = step(call, again, "b")

    assert seen["reused_from"] == {"task_id": task_id, "step_id": "b", "round": 1}
    assert seen["output"]["value"] == {"summary": "b", "values": {"n": 1}}
    assert seen["resolved"]["value"] == {"values": {"x": 1}}
    assert seen["attempts"] == []


def test_a_round_that_kept_a_step_shows_its_earlier_row(call: Caller, engineer: Engineer) -> None:
    task_id = engineer.start(wait_step("a", repair_inputs={"seconds": 0}), wait_step("b"))
    engineer.do(task_id, "a", output={"summary": "first"})
    engineer.do(task_id, "b")
    engineer.judge(task_id, verdict(Decision.FAILED, a="do it better"))
    engineer.do(task_id, "a", output={"summary": "second"})

    assert step(call, task_id, "a")["rounds"] == [1, 2]
    assert step(call, task_id, "a")["output"]["value"] == {"summary": "second"}
    assert step(call, task_id, "a")["feedback"] == "do it better"
    assert step(call, task_id, "a", "?round=1")["output"]["value"] == {"summary": "first"}
    assert step(call, task_id, "b", "?round=2")["round"] == 1
    judged = step(call, task_id, "$judge", "?round=1")
    assert (judged["kind"], [one["kind"] for one in judged["decisions"]]) == ("judge", ["verdict"])


def test_items_of_a_loop_come_in_pages(call: Caller, engineer: Engineer) -> None:
    task_id = found(engineer, "x", "y", "z" * 3000)
    run(engineer, task_id, "fix[]")
    engineer.do(task_id, "fix[0]", output={"summary": "did x"})
    engineer.fail(task_id, "fix[1]")

    first = step(call, task_id, "fix", "?limit=2")["items"]
    second = step(call, task_id, "fix", "?limit=2&after=1")["items"]

    assert first["counts"] == {"done": 1, "failed": 1, "queued": 1}
    assert [(item["step_id"], item["item"], item["status"]) for item in first["items"]] == [
        ("fix[0]", "x", "done"),
        ("fix[1]", "y", "failed"),
    ]
    assert first["items"][0]["summary"] == "did x"
    assert first["items"][1]["error"]["code"] == "tool_failed"
    assert (first["next_after"], second["next_after"]) == (1, None)
    assert len(second["items"][0]["item"]) < 2_100
    item = step(call, task_id, "fix%5B0%5D")
    assert (item["part"], item["resolved"]["value"]) == ("item", {"values": {"of": "x"}})


def test_the_log_is_in_the_order_of_time_and_has_what_tools_printed(call: Caller, engineer: Engineer) -> None:
    task_id = engineer.start(wait_step("a"))
    printed = {"summary": "s", "stdout": "out\n", "stderr_tail": "careful\n"}
    engineer.do(task_id, "a", owner="host:1", output=printed)

    lines = step(call, task_id, "a")["log"]

    assert [(line["source"], line["text"]) for line in lines if line["source"] != "decision"] == [
        ("event", "queued"),
        ("event", "attempt 1 began on host:1"),
        ("event", "done"),
        ("stdout", "out\n"),
        ("stderr", "careful\n"),
    ]


def test_files_of_an_output_can_be_downloaded(call: Caller, engineer: Engineer) -> None:
    task_id = engineer.start(wait_step("a"))
    file = {"name": "a.patch", "artifact_id": SHA, "media_type": "text/x-diff", "size_bytes": 3}
    engineer.do(task_id, "a", output={"summary": "s", "patch": file, "same": file})

    assert step(call, task_id, "a")["files"] == [{**file, "href": f"/v1/files/{SHA}"}]


def test_inputs_that_refer_to_a_lot_many_times_are_left_as_planned(call: Caller, engineer: Engineer) -> None:
    reference = {"$from": "a", "pointer": "/values/t"}
    task_id = engineer.start(collect("a"), collect("b", x=[reference] * 100))
    engineer.do(task_id, "a", output={"summary": "s", "values": {"t": "x" * 100_000}})

    seen = step(call, task_id, "b")

    assert seen["resolved"] is None
    assert "take more than" in seen["unresolved"]
    assert len(seen["references"]) == 100


@pytest.mark.parametrize("name", ["nope", "a%5B0%5D", "%24plan2", "a%00"])
def test_an_unknown_step_is_not_there(call: Caller, engineer: Engineer, name: str) -> None:
    task_id = engineer.start(wait_step("a"))

    assert_problem(call("GET", f"/v1/tasks/{task_id}/steps/{name}"), 404, "resource_not_found")


def test_another_tenants_step_is_not_there(as_caller: AsCaller, engineer: Engineer) -> None:
    task_id = engineer.start(wait_step("a"))

    answer = as_caller(tenant="umbrella")("GET", f"/v1/tasks/{task_id}/steps/a")

    assert_problem(answer, 404, "resource_not_found")


def _call(provider: str, model: str, outcome: str, *, called: bool = True) -> dict[str, Any]:
    return {"provider": provider, "model": model, "outcome": outcome, "called": called}
