"""A claim is one statement that waits for no other step; the start of an attempt is announced once, in time."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
from celery.exceptions import Ignore
from psycopg2.extensions import cursor
from sqlalchemy import event

from orchestrator.bootstrap import WorkerProcess
from orchestrator.chord.database import open_engine, statement, transaction
from orchestrator.chord.sql import Prepared
from orchestrator.lifecycle import cancel, requeue
from orchestrator.lifecycle.ending import Ending, end_task
from orchestrator.memory import claims, files, tasks
from orchestrator.memory.claims import Claim, Refusal
from orchestrator.memory.events import Event
from orchestrator.models.errors import MustWait
from orchestrator.models.execution_state import TaskStatus
from tests.integration.attempt_kit import process_of, run_step
from tests.integration.kit import TENANT, Engineer, done, failed, wait_step
from tests.waiting import wait_until
from workers.attempt.claims import claim_in_turn
from workers.attempt.context import AttemptContext
from workers.runtime.announcer import Announcer


@pytest.fixture
def ran() -> list[str]:
    """The statements that `worker` has run, by the name in their first line."""
    return []


@pytest.fixture
def worker(engineer: Engineer, postgres_url: str, ran: list[str]) -> Iterator[WorkerProcess]:
    """A worker's process with a connection of its own, on which all statements are noted."""

    class NotingCursor(cursor):  # type: ignore[misc]  # psycopg2 has no types
        def execute(self, query: Any, vars: Any = None) -> None:  # noqa: A002  # psycopg2's name
            ran.append(query.splitlines()[0])
            super().execute(query, vars)

    def note(connection: Any, _record: Any) -> None:
        connection.cursor_factory = NotingCursor

    engine = open_engine(postgres_url, pool_size=1)
    event.listen(engine, "connect", note)
    process = replace(process_of(engineer), engine=engine)
    # another step's claim, which prepares the statement
    claim_in_turn(process, engineer.row(engineer.start(wait_step("a")), "a")["id"])
    ran.clear()
    yield process
    engine.dispose()


@contextmanager
def waiting_claim(engineer: Engineer, row_id: str) -> Iterator[Callable[[], Claim | Refusal]]:
    """A claim in a thread of its own that waits for a lock; yields what gives its answer."""
    with ThreadPoolExecutor(1) as pool:
        claiming = pool.submit(claim_on, engineer, row_id)
        wait_for_a_lock(engineer)
        yield lambda: claiming.result(timeout=10)


def claim_on(engineer: Engineer, row_id: str) -> Claim | Refusal:
    with statement(engineer.engine) as conn:
        return claims.claim(conn, row_id, owner="me", lease_seconds=15, poison_step=3)


def wait_for_a_lock(engineer: Engineer) -> None:
    wait_until(lambda: engineer.ask("SELECT 1 FROM pg_locks WHERE NOT granted"), 10, "a wait for a lock")


def starts(engineer: Engineer, task_id: str, name: str = "a") -> list[Event]:
    """The events that announce attempts at a step."""
    return [
        told
        for told in engineer.events(task_id)
        if told.type == "step.started" and told.payload["step"] == name
    ]


def types_of(engineer: Engineer, task_id: str) -> list[str]:
    """The types of the events about the step a."""
    return [told.type for told in engineer.events(task_id) if told.payload.get("step") == "a"]


def test_a_step_with_inputs_and_files_takes_one_statement_up_to_its_arm(
    engineer: Engineer, worker: WorkerProcess, ran: list[str]
) -> None:
    with transaction(engineer.engine) as conn:
        file = files.put(conn, TENANT, filename="f.txt", media_type="text/plain", content=b"x")
    uses = {"values": {"$from": "a", "pointer": "/summary"}}
    plan = [wait_step("a"), {**wait_step("b", "a"), "arm": "retriever", "action": "collect", "inputs": uses}]
    task_id = engineer.start(*plan, attachments=(file.sha256,))
    engineer.do(task_id, "a")

    claim = claim_in_turn(worker, engineer.row(task_id, "b")["id"])
    attempt = AttemptContext.of(worker, claim)
    result = run_step(attempt)

    assert ran == ["-- octollm_claim"]
    assert result.output["values"] == "done"
    assert [item.filename for item in attempt.attachments] == ["f.txt"]


def test_a_message_delivered_twice_costs_one_statement(
    engineer: Engineer, worker: WorkerProcess, ran: list[str]
) -> None:
    task_id = engineer.start(wait_step("a"))
    engineer.do(task_id, "a")

    with pytest.raises(Ignore):
        claim_in_turn(worker, engineer.row(task_id, "a")["id"])

    assert ran == ["-- octollm_claim"]


def test_a_claim_in_a_session_that_a_pooler_swapped_is_made(
    engineer: Engineer, worker: WorkerProcess
) -> None:
    row_id = engineer.row(engineer.start(wait_step("a")), "a")["id"]
    with statement(worker.engine) as conn:
        conn.exec_driver_sql("DEALLOCATE ALL")

    assert claim_in_turn(worker, row_id).attempt == 1


def test_a_statement_that_another_release_prepared_by_the_same_name_is_not_run(engineer: Engineer) -> None:
    """Behind a pooler both releases meet in one session."""
    former = Prepared("octollm_test", "SELECT %(number)s + 1 AS answer", {"number": "int"})
    latter = Prepared("octollm_test", "SELECT %(number)s + 2 AS answer", {"number": "int"})

    with statement(engineer.engine) as conn:
        answers = [one.first(conn, {"number": 1}) for one in (former, latter, former, latter)]

    assert answers == [{"answer": 2}, {"answer": 3}] * 2


def test_a_claim_whose_connection_is_lost_is_made_on_another(
    engineer: Engineer, worker: WorkerProcess
) -> None:
    """The server ends the connection while the claim waits for a lock."""
    row_id = engineer.row(engineer.start(wait_step("a")), "a")["id"]

    with ThreadPoolExecutor(1) as pool:
        with transaction(engineer.engine) as conn:
            conn.exec_driver_sql("UPDATE steps SET sends = sends + 1 WHERE id = %(id)s", {"id": row_id})
            claiming = pool.submit(claim_in_turn, worker, row_id)
            wait_for_a_lock(engineer)
            engineer.ask("SELECT pg_terminate_backend(pid) FROM pg_locks WHERE NOT granted")
        claim = claiming.result(timeout=30)

    assert claim.attempt == 1


def test_a_step_is_not_given_the_whole_plan(engineer: Engineer) -> None:
    task_id = engineer.submit(wait_step("a"))

    whole = engineer.take(task_id, "$plan").contract["plan"]

    assert len(whole["steps"]) == 1
    assert engineer.take(engineer.start(wait_step("a")), "a").contract["plan"] == {}


def test_a_claim_of_a_step_does_not_wait_for_its_task(engineer: Engineer) -> None:
    """Completions of other steps hold the task's lock until they have committed."""
    task_id = engineer.start(wait_step("a"))

    with transaction(engineer.engine) as conn:
        tasks.lock_task(conn, task_id)
        claim = engineer.claim(task_id, "a")

    assert claim is not None


@pytest.mark.parametrize("name", ["a", "$plan"])
def test_a_claim_that_waits_for_its_tasks_end_gets_nothing(engineer: Engineer, name: str) -> None:
    task_id = engineer.submit(wait_step("a")) if name == "$plan" else engineer.start(wait_step("a"))
    with transaction(engineer.engine) as conn:
        task = tasks.lock_task(conn, task_id)
        assert task is not None
        end_task(conn, task, Ending(TaskStatus.CANCELLED))
        with waiting_claim(engineer, engineer.row(task_id, name)["id"]) as answer:
            conn.exec_driver_sql("COMMIT")
            refused = answer()
            conn.exec_driver_sql("BEGIN")

    assert isinstance(refused, Refusal)
    row = engineer.row(task_id, name)
    assert (row["state"], row["attempt"]) == ("cancelled", 0)


def test_an_end_that_waits_for_a_claim_closes_the_row_that_this_started(engineer: Engineer) -> None:
    task_id = engineer.start(wait_step("a"))
    with ThreadPoolExecutor(1) as pool, transaction(engineer.engine) as conn:
        claims.claim(conn, engineer.row(task_id, "a")["id"], owner="me", lease_seconds=15, poison_step=3)
        ending = pool.submit(cancel.cancel, engineer.engine, tenant=TENANT, task_id=task_id)
        wait_for_a_lock(engineer)
        conn.exec_driver_sql("COMMIT")
        _, ended = ending.result(timeout=10)
        conn.exec_driver_sql("BEGIN")

    assert ended is not None
    assert {row.name: row.former_state for row in ended.stopped} == {"a": "running", "$judge": "blocked"}
    assert engineer.row(task_id, "a")["state"] == "cancelled"
    assert types_of(engineer, task_id) == ["step.queued", "step.started", "step.failed"]


def test_an_end_after_a_claim_closes_its_row_though_it_had_locked_the_task_before(engineer: Engineer) -> None:
    task_id = engineer.start(wait_step("a"))

    with transaction(engineer.engine) as conn:
        task = tasks.lock_task(conn, task_id)
        assert task is not None
        engineer.take(task_id, "a")
        ended = end_task(conn, task, Ending(TaskStatus.CANCELLED))

    assert [row.former_state for row in ended.stopped if row.name == "a"] == ["running"]
    assert engineer.row(task_id, "a")["state"] == "cancelled"


def test_the_start_of_a_quick_step_is_told_with_its_end_at_the_time_of_its_claim(engineer: Engineer) -> None:
    task_id = engineer.start(wait_step("a"))
    claim = engineer.take(task_id, "a")
    before = types_of(engineer, task_id)

    engineer.store(claim, done())

    assert before == ["step.queued"]
    assert types_of(engineer, task_id) == ["step.queued", "step.started", "step.completed"]
    assert starts(engineer, task_id)[0].occurred_at == engineer.row(task_id, "a")["started_at"]


def test_a_start_is_announced_once(engineer: Engineer) -> None:
    task_id = engineer.start(wait_step("a"))
    claim = engineer.take(task_id, "a", owner="here")

    with statement(engineer.engine) as conn:
        announced = [claims.announce(conn, claim.id) for _ in range(2)]
    engineer.store(claim, done())

    assert announced == [True, False]
    [told] = starts(engineer, task_id)
    assert told.payload == {"step": "a", "step_id": claim.id, "round": 1, "kind": "step", "arm": "executor",
                            "attempt": 1, "worker": "here"}  # fmt: skip
    assert [told.seq for told in engineer.events(task_id)] == list(
        range(1, len(engineer.events(task_id)) + 1)
    )


def _retry(engineer: Engineer, claim: Claim) -> None:
    error = failed(retryable=True).error or {}
    with transaction(engineer.engine) as conn:
        assert requeue.retry_step(conn, claim, error=error, delay_seconds=0)


def _postpone(engineer: Engineer, claim: Claim) -> None:
    assert requeue.postpone(engineer.engine, claim, MustWait("no room", details={"retry_after": 0}))


def _expire(engineer: Engineer, claim: Claim) -> None:
    engineer.ask("UPDATE steps SET due = now() - interval '1 second' WHERE id = %(id)s", id=claim.id)
    assert requeue.expire_lease(engineer.engine, claim.id, task_id=claim.task_id)


def _hand_back(engineer: Engineer, claim: Claim) -> None:
    assert requeue.hand_back(engineer.engine, claim.id, task_id=claim.task_id, owner="me", died=True)


@pytest.mark.parametrize("take_away", [_retry, _postpone, _expire, _hand_back])
def test_an_attempt_that_ends_without_a_result_is_announced_first(
    engineer: Engineer, take_away: Callable[[Engineer, Claim], None]
) -> None:
    task_id = engineer.start(wait_step("a"))
    first = engineer.take(task_id, "a")

    take_away(engineer, first)
    late = engineer.store(first, done()) if take_away is _expire else None

    assert types_of(engineer, task_id)[1:3] == ["step.started", "step.retrying"]
    assert len(starts(engineer, task_id)) == 1
    assert (late is not None) is (engineer.row(task_id, "a")["state"] == "done")


def test_an_expired_attempt_is_announced_before_another_takes_its_row(engineer: Engineer) -> None:
    """Its worker died in the moment after its claim."""
    task_id = engineer.start(wait_step("a"))
    first = engineer.take(task_id, "a", owner="died")
    engineer.ask("UPDATE steps SET due = now() - interval '1 second' WHERE id = %(id)s", id=first.id)

    second = engineer.take(task_id, "a")
    engineer.store(second, done())

    told = [(event.payload["attempt"], event.payload["worker"]) for event in starts(engineer, task_id)]
    assert told == [(1, "died"), (2, "me")]


def test_the_success_of_an_earlier_attempt_announces_the_one_that_runs(engineer: Engineer) -> None:
    task_id = engineer.start(wait_step("a"))
    first = engineer.take(task_id, "a")
    _expire(engineer, first)
    engineer.ask("UPDATE steps SET not_before = now() WHERE id = %(id)s", id=first.id)
    engineer.take(task_id, "a", owner="another")

    engineer.store(first, done())

    told = [(event.payload["attempt"], event.payload["worker"]) for event in starts(engineer, task_id)]
    assert told == [(1, "me"), (2, "another")]


def test_a_step_of_the_previous_release_is_not_announced_again(engineer: Engineer) -> None:
    """That release writes the event with the claim and leaves the column as it was."""
    task_id = engineer.start(wait_step("a"))
    claim = engineer.take(task_id, "a")
    engineer.ask("UPDATE steps SET attempt = 2 WHERE id = %(id)s", id=claim.id)

    engineer.store(replace(claim, attempt=2), done())

    assert starts(engineer, task_id) == []


def test_the_start_of_a_step_that_lasts_is_announced_while_it_runs(engineer: Engineer) -> None:
    task_id = engineer.start(wait_step("a"), wait_step("b"))
    worker = process_of(engineer)
    announcer = Announcer(engineer.engine, worker.hints)
    quick, slow = engineer.take(task_id, "a"), engineer.take(task_id, "b")
    before = _announcers()

    with announcer.watch(quick):
        pass
    with announcer.watch(slow):
        wait_until(lambda: starts(engineer, task_id, "b"), 10, "the start to be announced")

    assert starts(engineer, task_id) == []
    assert _announcers() == before + 1


def _announcers() -> int:
    """Count the threads that announce; those of other tests' workers sleep on."""
    return [thread.name for thread in threading.enumerate()].count("announcer")


@pytest.mark.parametrize(("name", "phase"), [("$plan", "planning"), ("$judge", "judging")])
def test_a_plan_and_a_judge_are_announced_by_their_claim(engineer: Engineer, name: str, phase: str) -> None:
    task_id = engineer.submit(wait_step("a"))
    if name == "$judge":
        engineer.plan(task_id)
        engineer.do(task_id, "a")

    engineer.take(task_id, name)

    assert len(starts(engineer, task_id, name)) == 1
    assert (engineer.task(task_id).status, engineer.task(task_id).phase) == ("processing", phase)
