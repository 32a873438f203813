"""Steps with for_each: their items are rows of the round's chord, gathered in order."""

from typing import Any

import pytest

from orchestrator.chord.chord import Refused
from orchestrator.conclusion import PlanAsked
from orchestrator.executor import StepCompletion
from orchestrator.lifecycle.ending import Ended
from orchestrator.lifecycle.saved_round import SavedRound
from tests.integration.attempt_kit import process_of
from tests.integration.kit import Engineer
from workers.attempt import judging, pipeline
from workers.attempt.concerns.lease import hold_lease
from workers.attempt.context import AttemptContext


def find(items: list[Any]) -> dict[str, Any]:
    """Return a step that puts out a list."""
    return {"id": "find", "arm": "retriever", "action": "collect", "inputs": {"values": {"list": items}}}


def each(name: str = "fix", source: Any = None, **more: Any) -> dict[str, Any]:
    """Return a step that runs for each item of the list."""
    source = source if source is not None else {"$from": "find", "pointer": "/values/list"}
    return {
        "id": name,
        "arm": "retriever",
        "action": "collect",
        "for_each": source,
        "inputs": {"values": {"of": {"$item": ""}}},
        **more,
    }


def found(engineer: Engineer, *items: Any, **more: Any) -> str:
    """Start a task that runs `fix` for each item, and finish the step that finds them."""
    task_id = engineer.start(find([]), each(**more))
    engineer.do(task_id, "find", output={"summary": "found", "values": {"list": list(items)}})
    return task_id


def work(engineer: Engineer, task_id: str, name: str) -> Any:
    """Claim a row and return what a worker makes of it."""
    claim = engineer.take(task_id, name)
    concerns = [one for one in pipeline.LOOP if one is not hold_lease]
    attempt = AttemptContext.of(process_of(engineer), claim)
    return claim, pipeline.wrap(pipeline.spread_or_gather, concerns)(attempt)


def run(engineer: Engineer, task_id: str, name: str) -> StepCompletion:
    """Do a spread or a gather as a worker does, and store its outcome."""
    claim, outcome = work(engineer, task_id, name)
    return engineer.store(claim, outcome)


def output_of(engineer: Engineer, task_id: str, name: str = "fix") -> Any:
    """Return the output in a row."""
    return engineer.row(task_id, name)["result"]["output"]


def test_items_run_as_members_of_the_open_chord_and_are_gathered_in_order(engineer: Engineer) -> None:
    task_id = found(engineer, "x", "y", "z")

    begun = run(engineer, task_id, "fix[]")
    for name in ("fix[2]", "fix[0]", "fix[1]"):
        engineer.do(task_id, name, output={"summary": name})
    run(engineer, task_id, "fix")

    assert [message.name for message in begun.released] == ["fix[0]", "fix[1]", "fix[2]"]
    assert output_of(engineer, task_id) == {
        "summary": "3 of 3 items done",
        "items": [{"summary": "fix[0]"}, {"summary": "fix[1]"}, {"summary": "fix[2]"}],
        "count": 3,
        "failed": 0,
        "errors": [],
    }
    assert engineer.row(task_id, "fix[1]")["spec"]["item"] == "y"
    assert engineer.chord_of(task_id)["state"] in ("ready", "fired")


def test_a_failed_item_is_reported_and_does_not_stop_the_others(engineer: Engineer) -> None:
    task_id = found(engineer, 1, 2)
    run(engineer, task_id, "fix[]")

    engineer.fail(task_id, "fix[0]")
    engineer.do(task_id, "fix[1]", output={"summary": "2"})
    run(engineer, task_id, "fix")

    output = output_of(engineer, task_id)
    assert output["items"] == [None, {"summary": "2"}]
    assert output["failed"] == 1
    assert output["errors"] == [{"index": 0, "code": "tool_failed", "message": "it failed"}]
    assert output["summary"].endswith(", 1 failed; the first, 0: tool_failed: it failed")


def test_an_empty_list_is_gathered_at_once(engineer: Engineer) -> None:
    task_id = found(engineer)

    begun = run(engineer, task_id, "fix[]")

    assert [message.name for message in begun.released] == ["fix"]
    run(engineer, task_id, "fix")
    assert output_of(engineer, task_id)["items"] == []


def test_a_second_outcome_of_a_spread_adds_nothing(engineer: Engineer) -> None:
    task_id = found(engineer, 1)
    claim, outcome = work(engineer, task_id, "fix[]")
    engineer.store(claim, outcome)

    with pytest.raises(Refused):
        engineer.store(claim, outcome)

    assert len(engineer.ask("SELECT FROM steps WHERE parent = 'fix' AND task_id = %(id)s", id=task_id)) == 2


def test_too_many_items_fail_the_step_with_what_to_do(engineer: Engineer) -> None:
    task_id = found(engineer, 1, 2, 3, max_items=2)

    run(engineer, task_id, "fix[]")
    run(engineer, task_id, "fix")

    error = engineer.row(task_id, "fix")["result"]["error"]
    assert error["code"] == "invalid_input"
    assert "has 3 items, and max_items is 2: raise max_items" in error["message"]


def test_a_loop_over_the_items_of_a_loop(engineer: Engineer) -> None:
    again = each(
        "again", {"$from": "fix", "pointer": "/items"}, inputs={"values": {"of": {"$item": "/summary"}}}
    )
    task_id = engineer.start(each("fix", [1, 2]), again)
    run(engineer, task_id, "fix[]")
    for name in ("fix[0]", "fix[1]"):
        engineer.do(task_id, name, output={"summary": name})
    run(engineer, task_id, "fix")

    begun = run(engineer, task_id, "again[]")

    assert [message.spec["item"] for message in begun.released] == [
        {"summary": "fix[0]"},
        {"summary": "fix[1]"},
    ]


def judge(engineer: Engineer, task_id: str) -> Ended | SavedRound | PlanAsked:
    """Judge the round by its rules, as a judge's worker does."""
    claim = engineer.take(task_id, "$judge")
    attempt = AttemptContext.of(process_of(engineer), claim)
    return engineer.conclude(claim, judging.judge(attempt).verdict)


def test_the_judge_requires_that_no_item_fails(engineer: Engineer) -> None:
    task_id = found(engineer, 1, 2)
    run(engineer, task_id, "fix[]")
    engineer.fail(task_id, "fix[0]")
    engineer.do(task_id, "fix[1]")
    run(engineer, task_id, "fix")

    ended = judge(engineer, task_id)

    assert isinstance(ended, Ended)
    assert ended.status == "failed"
    error = engineer.task(task_id).error
    assert error is not None
    assert "/failed is 1" in str(error["details"])


def test_a_repair_runs_only_the_failed_items_again(engineer: Engineer) -> None:
    task_id = found(engineer, "x", "y", "z", repair_inputs={"values": "repaired"})
    run(engineer, task_id, "fix[]")
    for name in ("fix[0]", "fix[2]"):
        engineer.do(task_id, name, output={"summary": name})
    engineer.fail(task_id, "fix[1]")
    run(engineer, task_id, "fix")
    judge(engineer, task_id)

    begun = run(engineer, task_id, "fix[]")

    assert [message.name for message in begun.released] == ["fix[1]"]
    assert begun.released[0].spec["inputs"] == {"values": "repaired"}
    assert begun.released[0].spec["feedback"] == "failed with tool_failed: it failed"
    engineer.do(task_id, "fix[1]", output={"summary": "mended"})
    run(engineer, task_id, "fix")
    assert output_of(engineer, task_id)["items"] == [
        {"summary": "fix[0]"},
        {"summary": "mended"},
        {"summary": "fix[2]"},
    ]
    assert isinstance(judge(engineer, task_id), Ended)
    assert engineer.task(task_id).status == "completed"


def test_a_retry_runs_only_the_failed_items_again(engineer: Engineer) -> None:
    task_id = found(engineer, "x", "y")
    run(engineer, task_id, "fix[]")
    engineer.do(task_id, "fix[0]", output={"summary": "kept"})
    engineer.fail(task_id, "fix[1]")
    run(engineer, task_id, "fix")
    judge(engineer, task_id)

    again = engineer.retry(task_id)

    begun = run(engineer, again, "fix[]")
    assert [message.name for message in begun.released] == ["fix[1]"]
    engineer.do(again, "fix[1]", output={"summary": "mended"})
    run(engineer, again, "fix")
    assert output_of(engineer, again)["items"] == [{"summary": "kept"}, {"summary": "mended"}]


def test_a_retry_from_a_loop_runs_all_of_its_items_again(engineer: Engineer) -> None:
    task_id = found(engineer, "x", "y")
    run(engineer, task_id, "fix[]")
    for name in ("fix[0]", "fix[1]"):
        engineer.do(task_id, name, output={"summary": name})
    run(engineer, task_id, "fix")
    judge(engineer, task_id)

    again = engineer.retry(task_id, from_step="fix")
    begun = run(engineer, again, "fix[]")

    assert [message.name for message in begun.released] == ["fix[0]", "fix[1]"]


def test_a_retry_from_the_step_before_reuses_the_items_that_are_the_same(engineer: Engineer) -> None:
    task_id = found(engineer, "x", "y")
    run(engineer, task_id, "fix[]")
    for name in ("fix[0]", "fix[1]"):
        engineer.do(task_id, name, output={"summary": name})
    run(engineer, task_id, "fix")
    judge(engineer, task_id)

    again = engineer.retry(task_id, from_step="find")
    engineer.do(again, "find", output={"summary": "found", "values": {"list": ["new", "x"]}})
    begun = run(engineer, again, "fix[]")
    engineer.do(again, "fix[0]", output={"summary": "new"})
    run(engineer, again, "fix")

    assert [message.name for message in begun.released] == ["fix[0]"]
    assert output_of(engineer, again)["items"] == [{"summary": "new"}, {"summary": "fix[0]"}]


def test_items_that_do_not_meet_their_actions_criteria_run_again(engineer: Engineer) -> None:
    check = {"value": {"$item": ""}, "check": {"equals": 1}}
    step = each(
        source=[1, 2, 3],
        arm="judge",
        action="verify",
        inputs=check,
        repair_inputs={"check": {"exists": True}},
    )
    task_id = engineer.start(step)
    run(engineer, task_id, "fix[]")
    for index, passed in enumerate((True, False, True)):
        output = {"summary": "checked", "passed": passed, "checked": 1, "failed": 0, "not_checked": None}
        engineer.do(task_id, f"fix[{index}]", output=output)
    run(engineer, task_id, "fix")
    judge(engineer, task_id)

    begun = run(engineer, task_id, "fix[]")

    assert [message.name for message in begun.released] == ["fix[1]"]
    assert "What it verifies holds (not by the items 1)" in str(begun.released[0].spec["feedback"])


def test_a_spread_given_up_fails_its_step(engineer: Engineer) -> None:
    task_id = found(engineer, 1)
    engineer.fail(task_id, "fix[]")

    run(engineer, task_id, "fix")

    assert engineer.row(task_id, "fix")["result"]["error"]["code"] == "tool_failed"
    judge(engineer, task_id)
    assert engineer.task(task_id).status == "failed"


def test_large_outputs_of_items_are_gathered_whole(engineer: Engineer) -> None:
    task_id = found(engineer, 1, 2)
    run(engineer, task_id, "fix[]")
    for index in range(2):
        engineer.do(task_id, f"fix[{index}]", output={"summary": "big", "values": str(index) * 200_000})

    run(engineer, task_id, "fix")

    row = engineer.row(task_id, "fix")
    assert row["result"]["artifact"] == row["result"]["output"]["artifact_id"]
    judge(engineer, task_id)
    assert engineer.task(task_id).status == "completed"


def test_items_that_prove_nothing_leave_their_criterion_unchecked(engineer: Engineer) -> None:
    check = {"value": {"$item": ""}, "check": {"equals": 1}}
    task_id = engineer.start(each(source=[1], arm="judge", action="verify", inputs=check))
    run(engineer, task_id, "fix[]")
    nothing = {"reason": "nothing_to_check", "message": "nothing was given to check"}
    output = {"summary": "nothing", "passed": False, "checked": 0, "failed": 0, "not_checked": nothing}
    engineer.do(task_id, "fix[0]", output=output)
    run(engineer, task_id, "fix")

    judge(engineer, task_id)

    result = engineer.task(task_id).result
    assert result is not None
    assert not result["validation_passed"]
    assert any("the items 0 prove nothing: nothing was given to check" in one for one in result["warnings"])
