"""Steps with `when`: skipped is not failed, and what reads a skipped step's output is skipped too."""

from typing import Any

from orchestrator.chord.database import statement
from orchestrator.lifecycle import approvals as life
from orchestrator.memory import approvals
from orchestrator.models.step_result import StepResult
from orchestrator.models.verdict import Decision
from tests.integration.attempt_kit import process_of, run_step
from tests.integration.kit import Engineer, verdict
from tests.integration.test_loops import judge, run
from workers.attempt.context import AttemptContext

NEVER = {"step": "find", "pointer": "/values/n", "at_least": 5}


def find(number: int) -> dict[str, Any]:
    """Return a step that puts out a number."""
    return collect("find", number)


def collect(name: str, value: Any, *after: str, **more: Any) -> dict[str, Any]:
    """Return a step that puts out {values: {n: value}}."""
    step = {"id": name, "arm": "retriever", "action": "collect", "inputs": {"values": {"n": value}}}
    return {**step, "depends_on": list(after), **more}


def ref(step: str, **more: Any) -> dict[str, Any]:
    """Return a reference to the number of a step."""
    return {"$from": step, "pointer": "/values/n", **more}


def do(engineer: Engineer, task_id: str, *names: str) -> None:
    """Run steps as their arms' workers do."""
    for name in names:
        claim = engineer.take(task_id, name)
        result: StepResult = run_step(AttemptContext.of(process_of(engineer), claim))
        engineer.store(claim, result)


def test_a_step_whose_condition_is_not_met_is_skipped_and_the_task_passes(engineer: Engineer) -> None:
    task_id = engineer.start(find(1), collect("maybe", 2, when=NEVER), collect("last", 3, "maybe"))

    do(engineer, task_id, "find", "maybe", "last")

    assert engineer.states(task_id) == {
        "$plan": "done", "find": "done", "maybe": "skipped", "last": "done", "$judge": "queued",
    }  # fmt: skip
    summary = engineer.row(task_id, "maybe")["result"]["output"]["summary"]
    assert summary == "skipped: find:/values/n is 1: is not at least 5"
    judge(engineer, task_id)
    task = engineer.task(task_id)
    assert (task.status, task.result and task.result["validation_passed"]) == ("completed", True)
    skipped = [event.payload for event in engineer.events(task_id) if event.type == "step.skipped"]
    assert [(one["step"], one["reason"]) for one in skipped] == [("maybe", summary)]


def test_a_step_whose_condition_is_met_runs(engineer: Engineer) -> None:
    task_id = engineer.start(find(9), collect("maybe", 2, when=NEVER))

    do(engineer, task_id, "find", "maybe")

    assert engineer.states(task_id)["maybe"] == "done"


def test_what_reads_a_skipped_output_is_skipped_unless_it_has_a_default(engineer: Engineer) -> None:
    task_id = engineer.start(
        find(1),
        collect("maybe", 2, when=NEVER),
        collect("reads", ref("maybe")),
        collect("reads-on", ref("reads")),
        collect("copes", ref("maybe", default=7)),
    )

    do(engineer, task_id, "find", "maybe", "reads", "reads-on", "copes")

    states = engineer.states(task_id)
    assert (states["reads"], states["reads-on"], states["copes"]) == ("skipped", "skipped", "done")
    assert engineer.row(task_id, "copes")["result"]["output"]["values"] == {"n": 7}
    judge(engineer, task_id)
    assert engineer.task(task_id).status == "completed"


def test_a_skipped_loop_has_no_items(engineer: Engineer) -> None:
    loop = {**collect("fix", {"$item": ""}), "for_each": [1, 2], "when": NEVER}
    task_id = engineer.start(
        find(1), loop, collect("copes", {"$from": "fix", "pointer": "/items", "default": []})
    )
    do(engineer, task_id, "find")

    run(engineer, task_id, "fix[]")
    run(engineer, task_id, "fix")
    do(engineer, task_id, "copes")

    assert engineer.states(task_id)["fix"] == "skipped"
    assert engineer.row(task_id, "copes")["result"]["output"]["values"] == {"n": []}
    judge(engineer, task_id)
    assert engineer.task(task_id).status == "completed"


def test_nobody_is_asked_about_a_step_that_will_be_skipped(engineer: Engineer) -> None:
    gated = collect("maybe", 2, when=NEVER, approval={"ask": "May it run?"})
    task_id = engineer.start(find(1), gated, collect("last", 3, "maybe"))

    do(engineer, task_id, "find")

    with statement(engineer.engine) as conn:
        [asked] = approvals.list_approvals(conn, "acme", task_id=task_id, limit=10)
    assert "approval.requested" not in [event.type for event in engineer.events(task_id)]
    expiry = life.expire(engineer.engine, asked.id, task_id=task_id, settings=engineer.settings)
    assert expiry is not None
    engineer.store(engineer.take(task_id, "maybe"), life.result_of(expiry.approval))
    do(engineer, task_id, "last")
    assert engineer.states(task_id)["maybe"] == "skipped"
    judge(engineer, task_id)
    assert engineer.task(task_id).status == "completed"


def test_a_repair_asks_a_skipped_step_again(engineer: Engineer) -> None:
    repaired = {"values": {"n": 9}}
    task_id = engineer.start(
        collect("find", 1, repair_inputs=repaired),
        collect("maybe", 2, when=NEVER),
        collect("last", 3, "maybe"),
    )
    do(engineer, task_id, "find", "maybe", "last")
    engineer.judge(task_id, verdict(Decision.FAILED, find="wrong"))

    do(engineer, task_id, "find", "maybe", "last")

    assert engineer.states(task_id)["maybe"] == "done"


def test_a_retry_keeps_what_follows_a_skipped_step(engineer: Engineer) -> None:
    task_id = engineer.start(find(1), collect("maybe", 2, when=NEVER), collect("last", 3, "maybe"))
    do(engineer, task_id, "find", "maybe", "last")
    judge(engineer, task_id)

    again = engineer.retry(task_id)
    do(engineer, again, "maybe")

    rows = {name: engineer.row(again, name)["reuses"] is not None for name in ("find", "last")}
    assert rows == {"find": True, "last": True}
    assert engineer.states(again)["maybe"] == "skipped"
