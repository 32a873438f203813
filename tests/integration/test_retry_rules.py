"""A retry is a new task that reuses, by reference, the results of the ended task's finished steps."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from orchestrator.chord.database import statement, transaction
from orchestrator.lifecycle import cancel, retry
from orchestrator.lifecycle.ending import Ended
from orchestrator.memory import events, pools, retention, tasks
from orchestrator.models.caller import Caller
from orchestrator.models.errors import InvalidInput, InvalidOperation, NotFound
from orchestrator.models.task_contract import Budget
from orchestrator.models.verdict import Decision
from tests.integration.kit import TENANT, Engineer, verdict, wait_step

CHAIN = (wait_step("a"), wait_step("b", "a"), wait_step("c", "b"))


def test_finished_steps_are_reused_and_the_others_run_again(engineer: Engineer) -> None:
    source = _rejected(engineer, done=("a", "b"))

    again = engineer.retry(source)

    assert engineer.states(again) == {
        "$plan": "done",
        "a": "done",
        "b": "done",
        "c": "queued",
        "$judge": "blocked",
    }
    assert _outputs(engineer, again) == {
        "a": {"summary": "a of the first"},
        "b": {"summary": "b of the first"},
    }
    assert [row["result"] for row in engineer.rows(again, "a")] == [None]
    assert engineer.row(again, "b")["reuses"] == engineer.row(source, "b")["id"]
    assert engineer.ask("SELECT * FROM ledger WHERE task_id = %(id)s", id=again) == []


def test_a_step_that_runs_again_is_given_the_outputs_that_are_reused(engineer: Engineer) -> None:
    again = engineer.retry(_rejected(engineer, done=("a", "b")))

    claim = engineer.take(again, "c")

    assert claim.bound is not None
    assert {name: result["output"] for name, result in claim.bound.items()} == {
        "b": {"summary": "b of the first"}
    }


def test_from_step_runs_that_step_and_its_descendants_again(engineer: Engineer) -> None:
    source = _passed(engineer)

    again = engineer.retry(source, from_step="b")

    assert engineer.states(again) == {
        "$plan": "done",
        "a": "done",
        "b": "queued",
        "c": "blocked",
        "$judge": "blocked",
    }


def test_only_the_judge_runs_again_when_all_steps_are_reused(engineer: Engineer) -> None:
    again = engineer.retry(_passed(engineer))

    ended = engineer.judge(again, verdict(Decision.PASSED))

    assert engineer.chord_of(again)["size"] == 0
    assert isinstance(ended, Ended)
    assert ended.task_id == again
    assert engineer.task(again).status == "completed"
    assert _outputs(engineer, again).keys() == {"a", "b", "c"}


def test_a_retry_of_a_retry_refers_to_the_row_that_did_the_work(engineer: Engineer) -> None:
    source = _passed(engineer)
    second = engineer.retry(source)
    engineer.judge(second, verdict(Decision.PASSED))

    third = engineer.retry(second, from_step="c")

    assert engineer.row(third, "a")["reuses"] == engineer.row(source, "a")["id"]
    assert _outputs(engineer, third)["a"] == {"summary": "a of the first"}


def test_a_repair_round_of_a_retry_keeps_the_reused_results(engineer: Engineer) -> None:
    source = engineer.start(wait_step("a"), wait_step("b", "a", repair_inputs={"seconds": 0}))
    engineer.do(source, "a", output={"summary": "a of the first"})
    engineer.fail(source, "b")
    cancel.cancel(engineer.engine, tenant=TENANT, task_id=source)
    again = engineer.retry(source)
    engineer.do(again, "b")

    engineer.judge(again, verdict(Decision.FAILED, b="not good enough"))

    claim = engineer.take(again, "b")
    assert claim.round == 2
    assert claim.bindings == {"a": engineer.row(source, "a")["id"]}


def test_events_and_traces_of_both_tasks_record_a_retry(engineer: Engineer) -> None:
    source = _rejected(engineer, done=("a", "b"))

    again = engineer.retry(source, from_step="b")

    recorded = engineer.events(again)
    assert recorded[0].payload["retry_of"] == source
    reused = [event.payload for event in recorded if event.type == "step.reused"]
    assert [(fact["step"], fact["from"]["task_id"]) for fact in reused] == [("a", source)]
    assert _decisions(engineer, source)["retried"] == {"by": again, "from_step": "b"}
    assert _decisions(engineer, again)["retry"] == {"of": source, "from_step": "b"}
    assert _decisions(engineer, again)["reuse"]["reruns"] == ["b", "c"]
    assert set(_decisions(engineer, again)["route"]) == {"b", "c"}
    assert [event.seq for event in recorded] == list(range(1, len(recorded) + 1))


def test_an_ended_task_is_as_it_was_after_a_retry(engineer: Engineer) -> None:
    source = _passed(engineer)
    before = engineer.task(source)

    engineer.retry(source)

    assert engineer.task(source) == before


def test_an_open_task_can_not_be_retried_and_another_tenants_is_not_there(engineer: Engineer) -> None:
    task_id = engineer.start(*CHAIN)

    with pytest.raises(InvalidOperation, match="still processing"):
        engineer.retry(task_id)
    with pytest.raises(NotFound):
        retry.retry(engineer.engine, settings=engineer.settings, caller=Caller("umbrella"), task_id=task_id)


def test_an_unknown_from_step_is_refused_and_no_task_is_saved(engineer: Engineer) -> None:
    source = _passed(engineer)

    with pytest.raises(InvalidInput, match="it has a, b, c"):
        engineer.retry(source, from_step="d")

    assert engineer.ask("SELECT count(*) AS tasks FROM tasks") == [{"tasks": 1}]


def test_a_task_that_was_never_planned_is_planned_anew(engineer: Engineer) -> None:
    source = engineer.submit(*CHAIN)
    cancel.cancel(engineer.engine, tenant=TENANT, task_id=source)

    again = engineer.retry(source)

    assert engineer.states(again)["a"] == "queued"
    with pytest.raises(InvalidInput, match="never planned"):
        engineer.retry(source, from_step="a")


def test_a_deadline_that_has_passed_is_not_copied(engineer: Engineer) -> None:
    budget = Budget(max_time_seconds=60)
    soon = datetime.now(UTC) + timedelta(hours=1)
    ids = [engineer.submit(*CHAIN, budget=budget, deadline=deadline) for deadline in (soon, soon)]
    for task_id in ids:
        cancel.cancel(engineer.engine, tenant=TENANT, task_id=task_id)
    late, early = ids
    past = """UPDATE tasks SET contract = jsonb_set(contract, '{deadline}', '"2020-01-01T00:00:00+00:00"')
              WHERE id = %(id)s"""
    engineer.ask(past, id=late)

    again = [engineer.task(engineer.retry(task_id)) for task_id in (late, early)]

    assert [task.contract["deadline"] for task in again] == [None, soon.isoformat()]
    assert all(
        timedelta(seconds=59) < task.deadline_at - task.created_at <= timedelta(seconds=60) for task in again
    )


def test_a_result_that_a_retry_refers_to_outlives_its_retention(engineer: Engineer) -> None:
    source = _passed(engineer)
    again = engineer.retry(source)
    engineer.judge(again, verdict(Decision.PASSED))
    engineer.ask("UPDATE tasks SET finished_at = now() - interval '31 days' WHERE id = %(id)s", id=source)

    kept = _forget(engineer)
    outputs = _outputs(engineer, again)
    engineer.ask("UPDATE tasks SET finished_at = now() - interval '31 days'")
    gone = [_forget(engineer), _forget(engineer)]

    assert (kept, gone) == (0, [1, 1])
    assert outputs["a"] == {"summary": "a of the first"}
    assert engineer.ask("SELECT id FROM tasks UNION ALL SELECT id FROM steps") == []


def test_a_reused_step_does_not_count_in_an_arms_success_rate(engineer: Engineer) -> None:
    source = _passed(engineer)

    engineer.retry(source)

    with statement(engineer.engine) as conn:
        assert pools.arm_statistics(conn)["executor"].attempts == 3


def test_the_plan_that_failed_does_not_count_as_done(engineer: Engineer) -> None:
    """The result of a step that finished in one round and not in the next is not reused."""
    engineer.settings = replace(engineer.settings, max_parallel_arms=5)
    source = engineer.start(wait_step("a", repair_inputs={"seconds": 0}), wait_step("b"))
    engineer.do(source, "a")
    engineer.do(source, "b")
    engineer.judge(source, verdict(Decision.FAILED, a="again"))
    cancel.cancel(engineer.engine, tenant=TENANT, task_id=source)

    again = engineer.retry(source)

    assert {name: state for name, state in engineer.states(again).items() if name in "ab"} == {
        "a": "queued",
        "b": "done",
    }


def _passed(engineer: Engineer) -> str:
    task_id = engineer.start(*CHAIN)
    for name in ("a", "b", "c"):
        engineer.do(task_id, name, output={"summary": f"{name} of the first"})
    engineer.judge(task_id, verdict(Decision.PASSED))
    return task_id


def _rejected(engineer: Engineer, *, done: tuple[str, ...]) -> str:
    task_id = engineer.start(*CHAIN)
    for name in done:
        engineer.do(task_id, name, output={"summary": f"{name} of the first"})
    engineer.fail(task_id, "c")
    engineer.judge(task_id, verdict(Decision.FAILED))
    assert engineer.task(task_id).status == "failed"
    return task_id


def _outputs(engineer: Engineer, task_id: str) -> dict[str, object]:
    with statement(engineer.engine) as conn:
        found = tasks.steps_of(conn, task_id)
    return {step.name: step.result["output"] for step in found if step.result}


def _decisions(engineer: Engineer, task_id: str) -> dict[str, dict[str, object]]:
    with statement(engineer.engine) as conn:
        return {entry.kind: entry.payload for entry in events.trace(conn, task_id)}


def _forget(engineer: Engineer) -> int:
    with transaction(engineer.engine) as conn:
        return retention.forget_tasks(conn, days=30, limit=10)
