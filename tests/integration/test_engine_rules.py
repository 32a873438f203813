"""ENGINE.md, rules 7 to 12: rows of work, rounds, claims, completion, retries and the judge."""

import threading
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy.exc import IntegrityError

from orchestrator import executor
from orchestrator.chord.chord import Refused
from orchestrator.chord.database import transaction
from orchestrator.lifecycle import requeue
from orchestrator.lifecycle.ending import Ended
from orchestrator.lifecycle.saved_round import SavedRound
from orchestrator.memory import steps
from orchestrator.models.execution_state import StepState
from orchestrator.models.ids import chord_id, step_id
from orchestrator.models.task_contract import Contract
from orchestrator.models.verdict import Decision
from orchestrator.planner.check import check_plan
from orchestrator.queue.app import make_app
from orchestrator.queue.canvas import signature
from tests.integration.kit import Engineer, done, failed, held_open, verdict, wait_step
from tests.waiting import wait_until

TYPE_BOMB = {"__type__": "uuid", "__value__": "zzz"}


def test_rule_7_every_unit_of_work_is_a_row_with_a_derived_id(engineer: Engineer) -> None:
    task_id = engineer.start(wait_step("a"), wait_step("b", "a"))

    rows = engineer.ask("SELECT id, kind, name, round FROM steps WHERE task_id = %(id)s", id=task_id)

    assert {(row["kind"], row["name"]) for row in rows} == {
        ("plan", "$plan"), ("step", "a"), ("step", "b"), ("judge", "$judge"),
    }  # fmt: skip
    assert all(row["id"] == step_id(task_id, round_number=row["round"], name=row["name"]) for row in rows)


def test_rule_7_a_message_carries_ids_only(engineer: Engineer) -> None:
    task_id = engineer.submit(wait_step("a"), context=TYPE_BOMB)
    row = engineer.plan(task_id).header[0]

    message = signature(make_app(lambda: engineer.settings), row)

    assert message.args == (task_id, "a")
    assert not message.kwargs
    assert message.options["task_id"] == row.id
    assert message.options["queue"] == "arm.executor"
    assert message.options["group_id"] == chord_id(task_id, round_number=1)


def test_rule_7_a_steps_chord_is_its_rows_and_not_what_a_header_says(engineer: Engineer) -> None:
    task_id, other = engineer.start(wait_step("a")), engineer.start(wait_step("a"))
    claim = engineer.take(task_id, "a")

    with pytest.raises(Refused):
        engineer.store(replace(claim, chord_id=engineer.chord_of(other)["id"]), done())

    assert engineer.row(task_id, "a")["state"] == "running"
    assert engineer.chord_of(other)["done"] == 0


def test_rule_7_the_database_refuses_rows_that_break_an_invariant(engineer: Engineer) -> None:
    task_id = engineer.start(wait_step("a"), wait_step("b", "a"))
    illegal = (
        "UPDATE steps SET state = 'queued', due = now() WHERE name = 'b' AND task_id = %(id)s",
        "UPDATE steps SET due = NULL WHERE name = 'a' AND task_id = %(id)s",
        "UPDATE steps SET state = 'done' WHERE name = 'a' AND task_id = %(id)s",
        "UPDATE tasks SET status = 'completed' WHERE id = %(id)s",
    )

    for sql in illegal:
        with pytest.raises(IntegrityError):
            engineer.ask(sql, id=task_id)


def test_rule_8_a_round_and_its_chord_are_saved_together_or_not_at_all(engineer: Engineer) -> None:
    task_id = engineer.submit(wait_step("a"))
    claim = engineer.take(task_id, "$plan")
    plan = check_plan(claim.contract["plan"])

    with held_open(engineer.engine) as conn:
        executor.adopt(
            conn, claim, plan, routes={"a": {"arm": "executor", "action": "wait"}}, settings=engineer.settings
        )

    assert engineer.ask("SELECT 1 FROM rounds WHERE task_id = %(id)s", id=task_id) == []
    assert engineer.task(task_id).round == 0
    assert engineer.row(task_id, "$plan")["state"] == "running"


def test_rule_8_a_second_plan_for_the_same_task_is_refused(engineer: Engineer) -> None:
    task_id = engineer.submit(wait_step("a"))
    claim = engineer.take(task_id, "$plan")
    plan = check_plan(claim.contract["plan"])
    routes = {"a": {"arm": "executor", "action": "wait"}}
    with transaction(engineer.engine) as conn:
        executor.adopt(conn, claim, plan, routes=routes, settings=engineer.settings)

    with pytest.raises(Refused), transaction(engineer.engine) as conn:
        executor.adopt(conn, claim, plan, routes=routes, settings=engineer.settings)

    assert len(engineer.rows(task_id, "a")) == 1


def test_rule_9_a_claim_counts_an_attempt_and_takes_a_lease(engineer: Engineer) -> None:
    task_id = engineer.start(wait_step("a"))

    claim = engineer.take(task_id, "a", owner="w1")

    row = engineer.row(task_id, "a")
    assert (claim.attempt, row["attempt"], row["state"], row["owner"]) == (1, 1, "running", "w1")
    assert 15 <= (row["due"] - row["started_at"]).total_seconds() < 16


def test_rule_9_of_two_claims_of_one_message_one_gets_it(engineer: Engineer) -> None:
    task_id = engineer.start(wait_step("a"))
    claims: list[Any] = []
    barrier = threading.Barrier(8)

    def claim() -> None:
        barrier.wait()
        claims.append(engineer.claim(task_id, "a"))

    threads = [threading.Thread(target=claim) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len([claim for claim in claims if claim is not None]) == 1
    assert engineer.row(task_id, "a")["attempt"] == 1


@pytest.mark.parametrize("name", ["b", "$judge", "$plan"])
def test_rule_9_a_blocked_or_finished_row_can_not_be_claimed(engineer: Engineer, name: str) -> None:
    task_id = engineer.start(wait_step("a"), wait_step("b", "a"))

    assert engineer.claim(task_id, name) is None


def test_rule_9_nothing_is_claimed_before_its_not_before(engineer: Engineer) -> None:
    task_id = engineer.start(wait_step("a"))
    claim = engineer.take(task_id, "a")
    with transaction(engineer.engine) as conn:
        requeue.retry_step(conn, claim, error={"code": "x", "message": "y"}, delay_seconds=30)

    assert engineer.claim(task_id, "a") is None
    assert engineer.row(task_id, "a")["failures"] == 1


def test_rule_9_a_running_row_is_claimed_again_once_its_lease_has_ended(engineer: Engineer) -> None:
    task_id = engineer.start(wait_step("a"))
    engineer.take(task_id, "a", lease_seconds=0.01)

    again = wait_until(lambda: engineer.claim(task_id, "a", owner="w2"), 5, "the lease to end")

    assert (again.attempt, again.kills, again.failures) == (2, 1, 0)


def test_rule_10_the_first_success_counts_even_of_a_fenced_attempt(engineer: Engineer) -> None:
    task_id = engineer.start(wait_step("a"))
    slow = engineer.take(task_id, "a", lease_seconds=0.01)
    quick = wait_until(lambda: engineer.claim(task_id, "a", owner="w2"), 5, "the lease to end")

    engineer.store(slow, done({"summary": "slow"}))
    with pytest.raises(Refused):
        engineer.store(quick, done({"summary": "quick"}))

    assert engineer.row(task_id, "a")["result"]["output"] == {"summary": "slow"}
    assert engineer.chord_of(task_id)["done"] == 1


def test_rule_10_only_the_current_attempt_may_fail_a_step(engineer: Engineer) -> None:
    task_id = engineer.start(wait_step("a"))
    zombie = engineer.take(task_id, "a", lease_seconds=0.01)
    current = wait_until(lambda: engineer.claim(task_id, "a", owner="w2"), 5, "the lease to end")

    with pytest.raises(Refused):
        engineer.store(zombie, failed())
    engineer.store(current, failed())

    assert engineer.row(task_id, "a")["state"] == "failed"


def test_rule_10_a_step_is_released_when_its_last_dependency_is_done(engineer: Engineer) -> None:
    task_id = engineer.start(wait_step("a"), wait_step("b"), wait_step("c", "a", "b"))

    first = engineer.do(task_id, "a")
    second = engineer.do(task_id, "b")

    assert [message.name for message in first.released] == []
    assert [message.name for message in second.released] == ["c"]


def test_rule_10_two_last_dependencies_that_end_together_release_once(engineer: Engineer) -> None:
    names = [f"s{number}" for number in range(6)]
    task_id = engineer.start(*map(wait_step, names), wait_step("last", *names))
    claims = [engineer.take(task_id, name) for name in names]
    released: list[str] = []
    barrier = threading.Barrier(len(claims))

    def finish(claim: Any) -> None:
        barrier.wait()
        released.extend(message.name for message in engineer.store(claim, done()).released)

    threads = [threading.Thread(target=finish, args=(claim,)) for claim in claims]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert released == ["last"]
    assert engineer.chord_of(task_id)["added"] == 1


def test_rule_10_no_more_than_max_parallel_arms_are_released_longest_path_first(engineer: Engineer) -> None:
    engineer.settings = replace(engineer.settings, max_parallel_arms=2)
    task_id = engineer.start(
        wait_step("short"), wait_step("long"), wait_step("middle"), wait_step("l2", "long"), wait_step("l3", "l2"),
        wait_step("m2", "middle"),
    )  # fmt: skip
    states = engineer.states(task_id)

    completion = engineer.do(task_id, "long")

    assert [states[name] for name in ("long", "middle", "short")] == ["queued", "queued", "held"]
    assert [message.name for message in completion.released] == ["l2"]
    assert engineer.states(task_id)["short"] == "held"


def test_rule_10_a_step_that_waits_for_its_retry_keeps_its_slot(engineer: Engineer) -> None:
    engineer.settings = replace(engineer.settings, max_parallel_arms=1)
    task_id = engineer.start(wait_step("a"), wait_step("b"))
    claim = engineer.take(task_id, "a")
    with transaction(engineer.engine) as conn:
        requeue.retry_step(conn, claim, error={"code": "x", "message": "y"}, delay_seconds=30)

    assert engineer.states(task_id)["b"] == "held"


def test_rule_10_the_chord_is_ready_exactly_when_the_judge_may_be_claimed(engineer: Engineer) -> None:
    task_id = engineer.start(wait_step("a"), wait_step("b", "a"))

    seen = [(engineer.chord_of(task_id)["state"], engineer.states(task_id)["$judge"])]
    for name in ("a", "b"):
        engineer.do(task_id, name)
        seen.append((engineer.chord_of(task_id)["state"], engineer.states(task_id)["$judge"]))

    assert seen == [("open", "blocked"), ("open", "blocked"), ("ready", "queued")]


def test_rule_11_a_failed_step_is_stored_and_its_dependents_never_join(engineer: Engineer) -> None:
    task_id = engineer.start(wait_step("a"), wait_step("b", "a"), wait_step("c"))

    engineer.fail(task_id, "a")
    engineer.do(task_id, "c")

    chord = engineer.chord_of(task_id)
    assert (chord["state"], chord["size"], chord["added"]) == ("ready", 2, 0)
    assert engineer.states(task_id) == {
        "$plan": "done", "a": "failed", "b": "blocked", "c": "done", "$judge": "queued",
    }  # fmt: skip


def test_rule_11_a_retry_is_queued_with_a_later_time_and_counts_one_failure(engineer: Engineer) -> None:
    task_id = engineer.start(wait_step("a"))
    claim = engineer.take(task_id, "a")

    with transaction(engineer.engine) as conn:
        took = requeue.retry_step(conn, claim, error={"code": "x", "message": "y"}, delay_seconds=7)

    row = engineer.row(task_id, "a")
    assert took is True
    assert (row["state"], row["failures"], row["kills"]) == ("queued", 1, 0)
    assert row["due"] == row["not_before"]
    assert engineer.events(task_id)[-1].type == "step.retrying"


def test_rule_12_the_judge_marks_what_it_skips_and_ends_the_task_in_one_transaction(
    engineer: Engineer,
) -> None:
    task_id = engineer.start(wait_step("a"), wait_step("b", "a"))
    engineer.fail(task_id, "a")

    ended = engineer.judge(task_id, verdict(Decision.FAILED))

    task = engineer.task(task_id)
    assert isinstance(ended, Ended)
    assert engineer.states(task_id)["b"] == "skipped"
    assert (task.status, task.error and task.error["code"]) == ("failed", "validation_failed")
    assert [event.type for event in engineer.events(task_id)][-3:] == [
        "step.skipped",
        "judge.verdict",
        "task.failed",
    ]
    assert engineer.chord_of(task_id)["state"] in ("closed", "fired")


def test_rule_12_the_verdict_takes_effect_once_a_round(engineer: Engineer) -> None:
    task_id = engineer.start(wait_step("a"))
    engineer.do(task_id, "a")
    claim = engineer.take(task_id, "$judge")

    engineer.conclude(claim, verdict(Decision.PASSED))
    with pytest.raises(Refused):
        engineer.conclude(claim, verdict(Decision.FAILED))

    assert engineer.task(task_id).status == "completed"
    assert [event.type for event in engineer.events(task_id)].count("judge.verdict") == 1


def test_rule_12_a_repair_runs_the_faulty_steps_and_their_descendants_and_keeps_the_rest(
    engineer: Engineer,
) -> None:
    task_id = engineer.start(
        wait_step("kept"),
        wait_step("bad", repair_inputs={"seconds": 1}),
        wait_step("after", "kept", "bad"),
    )
    for name in ("kept", "bad", "after"):
        engineer.do(task_id, name, output={"summary": name})
    before = engineer.row(task_id, "kept")

    saved = engineer.judge(task_id, verdict(Decision.FAILED, bad="too short"))

    bad, after = engineer.row(task_id, "bad"), engineer.row(task_id, "after")
    assert isinstance(saved, SavedRound)
    assert [message.name for message in saved.header] == ["bad"]
    assert engineer.rows(task_id, "kept") == [before]
    assert (bad["round"], bad["spec"]["inputs"], bad["spec"]["feedback"]) == (2, {"seconds": 1}, "too short")
    assert after["waiting"] == 1
    assert after["bindings"] == {"kept": before["id"], "bad": bad["id"]}
    assert engineer.chord_of(task_id)["state"] in ("closed", "fired")


def test_rule_12_the_judge_of_a_repair_sees_kept_results_and_new_ones(engineer: Engineer) -> None:
    task_id = engineer.start(wait_step("kept"), wait_step("bad", repair_inputs={"seconds": 1}))
    engineer.do(task_id, "kept", output={"summary": "kept"})
    engineer.do(task_id, "bad", output={"summary": "old"})
    engineer.judge(task_id, verdict(Decision.FAILED, bad="again"))
    engineer.do(task_id, "bad", output={"summary": "new"})

    with engineer.engine.connect() as conn:
        outcomes = steps.results_of(conn, task_id, round_number=2)
    ended = engineer.judge(task_id, verdict(Decision.PASSED))

    seen = {row.name: (row.state, row.result and row.result.output) for row in outcomes}
    assert seen == {
        "kept": (StepState.DONE, {"summary": "kept"}),
        "bad": (StepState.DONE, {"summary": "new"}),
    }
    assert isinstance(ended, Ended)
    assert engineer.task(task_id).round == 2


def test_rule_12_the_percentage_never_falls_even_in_a_repair(engineer: Engineer) -> None:
    task_id = engineer.start(wait_step("a", repair_inputs={"seconds": 1}), wait_step("b"))
    shown = [engineer.task(task_id).percentage]
    for name in ("a", "b"):
        engineer.do(task_id, name)
        shown.append(engineer.task(task_id).percentage)
    engineer.judge(task_id, verdict(Decision.FAILED, a="again"))
    shown.append(engineer.task(task_id).percentage)
    engineer.do(task_id, "a")
    engineer.judge(task_id, verdict(Decision.PASSED))
    shown.append(engineer.task(task_id).percentage)

    assert shown == sorted(shown)
    assert shown[-1] == 100


def test_rule_12_a_repair_that_can_not_change_a_result_is_not_started(engineer: Engineer) -> None:
    task_id = engineer.start(wait_step("a"))
    engineer.do(task_id, "a")

    ended = engineer.judge(task_id, verdict(Decision.FAILED, a="bad"))

    task = engineer.task(task_id)
    assert isinstance(ended, Ended)
    assert task.error is not None
    assert "would not change" in task.error["message"]


def test_rule_12_no_more_repairs_than_the_budget_has(engineer: Engineer) -> None:
    budget = replace(Contract(goal="x").budget, max_repairs=0)
    task_id = engineer.start(wait_step("a", repair_inputs={"seconds": 1}), budget=budget)
    engineer.do(task_id, "a")

    ended = engineer.judge(task_id, verdict(Decision.FAILED, a="bad"))

    assert isinstance(ended, Ended)
