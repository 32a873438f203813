"""Two tasks, or two rounds, are compared step by step; the first one that differs is named."""

from typing import Any

import pytest

from orchestrator.chord.database import transaction
from orchestrator.lifecycle import output_offload
from orchestrator.lifecycle.difference import changes_in
from orchestrator.models.verdict import CheckedBy, CriterionFinding, Decision, Verdict
from tests.integration.api.assertions import assert_problem
from tests.integration.api.conftest import AsCaller, Caller, Octollm
from tests.integration.kit import TENANT, Engineer, done, verdict, wait_step


def collect(name: str, *after: str, **values: Any) -> dict[str, Any]:
    return {
        "id": name,
        "arm": "retriever",
        "action": "collect",
        "inputs": {"values": values},
        "depends_on": list(after),
    }


def chain() -> tuple[dict[str, Any], ...]:
    """Three steps: b reads /values/n of a, c reads /values/m of b."""
    return (
        collect("a", n=1),
        collect("b", x={"$from": "a", "pointer": "/values/n"}),
        collect("c", y={"$from": "b", "pointer": "/values/m"}),
    )


def finished(engineer: Engineer, *plan: dict[str, Any], **outputs: dict[str, Any]) -> str:
    """Run a plan whose steps put out these values; return the completed task."""
    task_id = engineer.start(*plan)
    for name, values in outputs.items():
        engineer.do(task_id, name, output={"summary": name, "values": values})
    engineer.judge(task_id, verdict(Decision.PASSED))
    return task_id


def compared(call: Caller, task_id: str, query: str) -> dict[str, Any]:
    answer = call("GET", f"/v1/tasks/{task_id}/diff?{query}")
    assert answer.status_code == 200, answer.get_data(as_text=True)
    return dict(answer.json)


def kinds(found: dict[str, Any]) -> dict[str, str]:
    return {step["step_id"]: step["difference"] for step in found["steps"]}


def test_equal_runs_have_no_divergence(call: Caller, engineer: Engineer) -> None:
    outputs: dict[str, Any] = {"a": {"n": 1}, "b": {"m": 2}, "c": {}}
    left, right = (finished(engineer, *chain(), **outputs) for _ in range(2))

    found = compared(call, left, f"other={right}")

    assert kinds(found) == {"a": "same", "b": "same", "c": "same"}
    assert found["first_divergence"] is None
    assert (found["contract"], found["changes"], found["findings"]) == ([], [], [])
    assert found["plan"] == {"added": [], "removed": [], "changed": {}}
    assert (found["left"]["task_id"], found["right"]["task_id"]) == (left, right)


def test_the_first_divergence_is_the_output_that_later_inputs_take(call: Caller, engineer: Engineer) -> None:
    left = finished(engineer, *chain(), a={"n": 1}, b={"m": 2}, c={"r": 1})
    right = finished(engineer, *chain(), a={"n": 1}, b={"m": 3}, c={"r": 2})

    found = compared(call, left, f"other={right}")

    assert kinds(found) == {"a": "same", "b": "output", "c": "inputs"}
    assert found["first_divergence"] == "b"
    assert found["changes"] == [{"path": "/values/m", "left": "2", "right": "3"}]


def test_a_part_of_an_output_that_nobody_reads_changes_no_inputs(call: Caller, engineer: Engineer) -> None:
    left = finished(engineer, *chain(), a={"n": 1, "t": 1}, b={"m": 2}, c={})
    right = finished(engineer, *chain(), a={"n": 1, "t": 2}, b={"m": 2}, c={})

    assert kinds(compared(call, left, f"other={right}")) == {"a": "output", "b": "same", "c": "same"}


def test_plans_that_differ_name_steps_and_members(call: Caller, engineer: Engineer) -> None:
    left = finished(engineer, collect("a", n=1), collect("gone", n=1), a={}, gone={})
    right = finished(engineer, collect("a", n=2), collect("new", "a", n=1), a={}, new={})

    found = compared(call, left, f"other={right}")

    assert found["plan"] == {"added": ["new"], "removed": ["gone"], "changed": {"a": ["inputs"]}}
    assert kinds(found) == {"a": "inputs", "gone": "absent", "new": "absent"}
    assert found["first_divergence"] == "a"
    assert found["changes"] == [{"path": "/inputs/values/n", "left": "1", "right": "2"}]
    assert [change["path"] for change in found["contract"]] == ["/plan"]


def test_two_rounds_of_a_task_show_what_the_repair_changed(call: Caller, engineer: Engineer) -> None:
    task_id = engineer.start(wait_step("a", repair_inputs={"seconds": 0}), wait_step("b"))
    for name in ("a", "b"):
        engineer.do(task_id, name)
    unmet = CriterionFinding("it is good", False, CheckedBy.RULE, "it is not")
    rejected = Verdict(Decision.FAILED, 1.0, findings=(unmet,), faulty={"a": "do it better"}, output="no")
    engineer.judge(task_id, rejected)
    engineer.do(task_id, "a", output={"summary": "better"})
    met = CriterionFinding("it is good", True, CheckedBy.RULE, "it is")
    engineer.judge(task_id, Verdict(Decision.PASSED, 1.0, findings=(met,), output="yes"))

    found = compared(call, task_id, "rounds=1,2")

    assert kinds(found) == {"a": "inputs", "b": "same"}
    assert found["changes"] == [{"path": "/feedback", "left": "null", "right": '"do it better"'}]
    assert [(found[side]["round"], found[side]["decision"]) for side in ("left", "right")] == [
        (1, "failed"),
        (2, "passed"),
    ]
    [finding] = found["findings"]
    assert (finding["left"]["met"], finding["right"]["met"]) == (False, True)


def test_a_retry_is_the_same_up_to_what_ran_again(call: Caller, engineer: Engineer) -> None:
    left = finished(engineer, *chain(), a={"n": 1}, b={"m": 2}, c={"r": 1})
    right = engineer.retry(left, from_step="c")
    engineer.do(right, "c", output={"summary": "c", "values": {"r": 9}})

    found = compared(call, left, f"other={right}")

    assert kinds(found) == {"a": "same", "b": "same", "c": "output"}
    assert found["steps"][0]["right"]["task_id"] == left


def test_how_a_step_ended_differs_before_what_it_put_out(call: Caller, engineer: Engineer) -> None:
    left = finished(engineer, wait_step("a"), a={})
    right = engineer.start(wait_step("a"))
    engineer.fail(right, "a")

    found = compared(call, left, f"other={right}")

    assert kinds(found) == {"a": "status"}
    assert found["steps"][0]["right"]["error_code"] == "tool_failed"


def test_outputs_in_files_are_compared_by_hash(call: Caller, engineer: Engineer) -> None:
    tasks = []
    for letter in "xy":
        task_id = engineer.start(*chain())
        result = done({"summary": "large", "values": {"n": letter * 300_000}})
        content = output_offload.large_output(result, name="a", max_bytes=10_000_000) or b""
        with transaction(engineer.engine) as conn:
            stored = output_offload.offload(conn, TENANT, result, name="a", content=content)
        engineer.store(engineer.take(task_id, "a"), stored)
        engineer.do(task_id, "b", output={"summary": "b", "values": {"m": 1}})
        tasks.append(task_id)

    found = compared(call, tasks[0], f"other={tasks[1]}")

    assert kinds(found) == {"a": "output", "b": "inputs", "c": "same"}


@pytest.mark.parametrize(
    "query", ["", "rounds=1", "rounds=0,1", "rounds=1,99", "other=x", "rounds=99999999999,1"]
)
def test_what_can_not_be_compared_is_refused(call: Caller, engineer: Engineer, query: str) -> None:
    task_id = finished(engineer, wait_step("a"), a={})

    assert_problem(call("GET", f"/v1/tasks/{task_id}/diff?{query}"), 422, "validation_error")


def test_a_task_without_a_plan_and_another_tenants_are_refused(
    call: Caller, as_caller: AsCaller, engineer: Engineer
) -> None:
    task_id, waiting = finished(engineer, wait_step("a"), a={}), engineer.submit(wait_step("a"))
    theirs = as_caller(tenant="umbrella")("POST", "/v1/tasks", json={"goal": "theirs"}).json["task_id"]

    assert_problem(call("GET", f"/v1/tasks/{task_id}/diff?other={waiting}"), 422, "validation_error")
    assert_problem(call("GET", f"/v1/tasks/{task_id}/diff?other={theirs}"), 404, "resource_not_found")


def test_the_command_names_the_first_difference(octollm: Octollm, engineer: Engineer) -> None:
    left = finished(engineer, *chain(), a={"n": 1}, b={"m": 2}, c={})
    right = finished(engineer, *chain(), a={"n": 1}, b={"m": 3}, c={})

    status, printed = octollm("diff", left, right)

    assert status == 0
    assert "step o b: output   <- first difference" in printed.splitlines()
    assert "    /values/m: 2 -> 3" in printed.splitlines()


def test_the_command_shows_one_step(octollm: Octollm, engineer: Engineer) -> None:
    task_id = finished(engineer, *chain(), a={"n": 1}, b={"m": 2}, c={})

    status, printed = octollm("step", task_id, "b")

    assert status == 0
    assert printed.startswith("b  done  retriever, round 1\nattempt 1: done on me")
    assert '"x": 1' in printed


def test_changes_of_values_are_named_by_place() -> None:
    left = {"a": [1, {"b": True}], "gone": None, "same": "x"}
    right = {"a": [1, {"b": 1}, 3], "same": "x", "a/b": 2}

    found = [(one.path, one.left, one.right) for one in changes_in(left, right)]

    assert found == [
        ("/gone", "null", None),
        ("/a~1b", None, "2"),
        ("/a/2", None, "3"),
        ("/a/1/b", "true", "1"),
    ]
