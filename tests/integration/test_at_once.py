"""Transitions made in one statement leave the same rows and messages as the long way, and refuse the same."""

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import structlog
from celery import Celery

from orchestrator.cache.admission import Admission
from orchestrator.chord import chord
from orchestrator.chord.database import transaction
from orchestrator.lifecycle import cancel, requeue
from orchestrator.lifecycle.ending import Ending, end_task
from orchestrator.memory import tasks
from orchestrator.memory.claims import Claim
from orchestrator.models import signing_key
from orchestrator.models.execution_state import TaskStatus
from orchestrator.models.step_result import StepResult
from orchestrator.models.verdict import Decision, Verdict
from orchestrator.planner.check import check_plan
from tests.integration.approval_kit import asked, decide
from tests.integration.kit import TENANT, Engineer, done, failed, verdict, wait_step
from tests.integration.stored_kit import alike, messages, rows, store
from tests.waiting import wait_until
from workers.attempt.base_task import AttemptTask
from workers.attempt.judging import JudgedRound
from workers.attempt.planning import RoutedPlan
from workers.attempt.result_cache import CacheableResult
from workers.runtime import process
from workers.tasks import app

SLOTS = 2


class Worker:
    """Does by hand what workers do, and stores it through the result backend."""

    def __init__(self, engineer: Engineer, app: Celery) -> None:
        self.engineer = engineer
        self.app = app
        self.sent: list[Any] = []

    def start(self, *plan: dict[str, Any], **contract: Any) -> str:
        """Submit a task and plan it."""
        task_id = self.engineer.submit(*plan, **contract)
        self.plan(task_id)
        return task_id

    def plan(self, task_id: str) -> None:
        """Plan a task with its client's plan."""
        claim = self.engineer.take(task_id, "$plan")
        asked = check_plan(claim.contract["plan"], attachments=claim.contract["attachments"])
        self.store(claim, RoutedPlan(asked, {step.id: step.preferred._asdict() for step in asked.steps}, 0.0))

    def do(self, task_id: str, name: str, result: StepResult | None = None) -> None:
        """Claim a step and store its result."""
        self.store(self.engineer.take(task_id, name), result or done())

    def judge(self, task_id: str, given: Verdict, admission: Admission | None = None) -> None:
        """Claim the judge and store its verdict."""
        claim = self.engineer.take(task_id, "$judge")
        plan = check_plan({"steps": [wait_step("a")]}, attachments=())
        cacheable = CacheableResult(admission, None, "do it", plan) if admission else None
        self.store(claim, JudgedRound(given, cacheable))

    def store(self, claim: Claim, outcome: Any) -> None:
        """Store an outcome and take the messages that it sent."""
        store(self.app, claim, outcome)
        self.sent.append(alike(messages(self.app), self.engineer, claim.task_id))


@pytest.fixture
def worker(engineer: Engineer, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Worker]:
    monkeypatch.setenv("MAX_PARALLEL_ARMS", str(SLOTS))
    key = signing_key.new_private_key()
    monkeypatch.setenv("PERMIT_PRIVATE_KEY", key)
    monkeypatch.setenv("PERMIT_PUBLIC_KEY", signing_key.public_key_of(key))
    process.start(app, service="tests")
    hosts = replace(engineer.settings, webhook_allowed_hosts=("example.com",))
    yield Worker(Engineer(engineer.engine, hosts), app)
    messages(app)


def the_long_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(AttemptTask, "store_at_once")


# a diamond, a chain behind a step that fails, and more steps than slots
PLAN = (
    wait_step("a"),
    wait_step("b"),
    wait_step("c"),
    wait_step("d", "a", "b"),
    wait_step("e", "c"),
    wait_step("f", "e"),
)


def all_done(worker: Worker) -> str:
    task_id = worker.start(*PLAN)
    for name in "cabedf":
        worker.do(task_id, name)
    worker.judge(task_id, verdict(Decision.PASSED), Admission(is_shared=True, fresh_seconds=60))
    return task_id


def one_failed(worker: Worker) -> str:
    task_id = worker.start(*PLAN, callback_url="https://example.com/hook")
    worker.do(task_id, "c", failed())
    for name in ("a", "b", "d"):
        worker.do(task_id, name, replace(done("é\x00"), usage={"tokens": 3}, warnings=["slow"]))
    worker.judge(task_id, verdict(Decision.INCONCLUSIVE))
    return task_id


def repaired(worker: Worker) -> str:
    task_id = worker.start(wait_step("a", repair_inputs={"seconds": 1}), wait_step("b", "a"))
    for name in "ab":
        worker.do(task_id, name)
    worker.judge(task_id, verdict(Decision.FAILED, a="wrong"))
    for name in "ab":
        worker.do(task_id, name)
    worker.judge(task_id, verdict(Decision.PASSED))
    return task_id


def retried(worker: Worker) -> str:
    """A step that was tried twice, and one whose lease was handed back and whose first attempt succeeds."""
    task_id = worker.start(wait_step("a"), wait_step("b", "a"))
    claim = worker.engineer.take(task_id, "a")
    with transaction(worker.engineer.engine) as conn:
        requeue.retry_step(conn, claim, error=failed().error or {}, delay_seconds=0)
    worker.do(task_id, "a")
    early = worker.engineer.take(task_id, "b", owner="host:1")
    requeue.hand_back(worker.engineer.engine, early.id, task_id=task_id, owner="host:1", died=False)
    worker.store(early, done())
    worker.judge(task_id, verdict(Decision.PASSED))
    return task_id


def gates(worker: Worker) -> str:
    """A root and a later step that a person approves, beside steps that nobody is asked about."""
    ask = {"approval": {"ask": "run?"}}
    task_id = worker.start(
        wait_step("a", **ask), wait_step("b"), wait_step("c", "b", **ask), wait_step("d", "a")
    )
    worker.do(task_id, "b")
    for name in "ac":
        decide(worker.engineer, asked(worker.engineer, task_id, name))
    for name in "acd":
        worker.do(task_id, name)
    worker.judge(task_id, verdict(Decision.PASSED))
    return task_id


@pytest.mark.parametrize("scenario", [all_done, one_failed, repaired, retried, gates])
def test_both_ways_leave_the_same_rows_and_messages(
    worker: Worker, scenario: Callable[[Worker], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    at_once = rows(worker.engineer, scenario(worker))
    sent, worker.sent = worker.sent, []
    the_long_way(monkeypatch)

    step_by_step = rows(worker.engineer, scenario(worker))

    assert at_once == step_by_step
    assert sent == worker.sent
    assert any(sent)


def refusals(*stored: tuple[Claim, Any]) -> list[str]:
    """Store outcomes one after the other and return why they were refused."""
    with structlog.testing.capture_logs() as logs:
        for claim, outcome in stored:
            store(app, claim, outcome)
    return [entry["reason"] for entry in logs if entry["event"] == "chord.refused"]


@pytest.mark.parametrize("is_at_once", [True, False])
def test_both_ways_refuse_for_the_same_reasons(
    worker: Worker, is_at_once: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not is_at_once:
        the_long_way(monkeypatch)
    engineer = worker.engineer
    task_id = worker.start(wait_step("a", repair_inputs={"seconds": 1}), wait_step("b"))
    stale = engineer.take(task_id, "a", lease_seconds=0)
    current = engineer.take(task_id, "a")
    other = engineer.take(task_id, "b")

    assert refusals((stale, failed())) == [f"attempt 1 of step a of {task_id} is not the current one"]
    assert refusals((current, done()), (current, done()), (stale, done())) == [
        f"attempt 2 of step a of {task_id} is not the current one",
        f"attempt 1 of step a of {task_id} is not the current one",
    ]
    store(app, other, done())
    judge = engineer.take(task_id, "$judge")
    assert refusals((judge, JudgedRound(verdict(Decision.FAILED, a="wrong"), None)), (other, done())) == [
        f"{task_id} is in round 2, not in 1"
    ]
    again = engineer.take(task_id, "a")
    cancel.cancel(engineer.engine, tenant=TENANT, task_id=task_id)
    assert (
        refusals((again, done()), (judge, JudgedRound(verdict(Decision.PASSED), None)))
        == [f"{task_id} has ended"] * 2
    )
    assert engineer.task(task_id).event_seq == len(engineer.events(task_id))


def at_the_same_time(*works: Callable[[], object]) -> None:
    """Run each in its own thread and wait for all."""
    threads = [threading.Thread(target=work) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    assert not any(thread.is_alive() for thread in threads)


def waiting(engineer: Engineer, count: int) -> bool:
    """Tell whether that many statements wait for a lock."""
    return len(engineer.ask("SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'")) >= count


@pytest.mark.parametrize("repeat", range(3))
def test_two_last_steps_that_end_together_make_one_judge_due(worker: Worker, repeat: int) -> None:
    engineer = worker.engineer
    task_id = worker.start(wait_step("a"), wait_step("b"))
    claims = [engineer.take(task_id, name) for name in "ab"]
    messages(app)
    with transaction(engineer.engine) as conn:
        chord.lock(conn, engineer.chord_of(task_id)["id"])
        threads = [threading.Thread(target=store, args=(app, claim, done())) for claim in claims]
        for thread in threads:
            thread.start()
        wait_until(lambda: waiting(engineer, 2), 10, "both completions to wait for the chord")
    for thread in threads:
        thread.join(timeout=30)

    assert [message["headers"]["task"] for message in messages(app)] == ["tasks.judge"]
    row = engineer.chord_of(task_id)
    assert (row["state"], row["done"], row["size"]) == ("fired", 2, 2)
    assert engineer.task(task_id).percentage == 90


def test_a_completion_that_waits_for_a_cancel_is_refused(worker: Worker) -> None:
    engineer = worker.engineer
    task_id = worker.start(wait_step("a"), wait_step("b", "a"))
    claim = engineer.take(task_id, "a")
    reasons: list[str] = []
    storing = threading.Thread(target=lambda: reasons.extend(refusals((claim, done()))))
    with transaction(engineer.engine) as conn:
        chord.lock(conn, engineer.chord_of(task_id)["id"])
        task = tasks.lock_task(conn, task_id)
        assert task is not None
        storing.start()
        wait_until(lambda: waiting(engineer, 1), 10, "the completion to wait for the chord")
        end_task(conn, task, Ending(TaskStatus.CANCELLED, error={"code": "cancelled"}))
    storing.join(timeout=30)

    assert reasons == [f"{task_id} has ended"]
    assert engineer.states(task_id) == {
        "$plan": "done",
        "a": "cancelled",
        "b": "skipped",
        "$judge": "cancelled",
    }


def test_a_success_beats_the_end_of_its_lease_and_counts_once(worker: Worker) -> None:
    engineer = worker.engineer
    task_id = worker.start(wait_step("a"))
    claim = engineer.take(task_id, "a", lease_seconds=0)
    reclaimed: list[Any] = []

    at_the_same_time(
        lambda: store(app, claim, done()),
        lambda: reclaimed.append(requeue.expire_lease(engineer.engine, claim.id, task_id=task_id)),
    )

    assert engineer.row(task_id, "a")["state"] == "done"
    assert engineer.chord_of(task_id)["done"] == 1
    assert engineer.claim(task_id, "a") is None


def test_completions_and_a_cancel_at_once_neither_deadlock_nor_miscount(worker: Worker) -> None:
    engineer = worker.engineer
    names = [f"s{number}" for number in range(SLOTS)]
    for _ in range(3):
        task_id = worker.start(*map(wait_step, names), wait_step("last", *names))
        claims = [engineer.take(task_id, name) for name in names]

        at_the_same_time(
            *(partial(store, app, claim, done()) for claim in claims),
            partial(cancel.cancel, engineer.engine, tenant=TENANT, task_id=task_id),
        )

        ended = [row for name in names for row in engineer.rows(task_id, name) if row["state"] == "done"]
        row = engineer.chord_of(task_id)
        assert (row["state"], row["done"]) == ("closed", len(ended))
        assert engineer.task(task_id).event_seq == len(engineer.events(task_id))


def test_a_task_whose_followers_wait_is_ended_the_long_way(worker: Worker) -> None:
    engineer = worker.engineer
    leader, follower = worker.start(wait_step("a")), engineer.submit(wait_step("a"))
    engineer.ask(
        "UPDATE tasks SET leads = true, cache_key = 'k', cache_parts = '{}' WHERE id = %(id)s", id=leader
    )
    engineer.ask("UPDATE tasks SET leader_id = %(leader)s WHERE id = %(id)s", id=follower, leader=leader)
    worker.do(leader, "a")

    worker.judge(leader, verdict(Decision.PASSED), Admission(is_shared=True))

    assert engineer.task(follower).status == "completed"


def test_a_task_whose_priority_was_raised_is_planned_with_the_new_one(worker: Worker) -> None:
    engineer = worker.engineer
    task_id = engineer.submit(wait_step("a"))
    engineer.ask("UPDATE tasks SET priority = 'critical' WHERE id = %(id)s", id=task_id)

    worker.plan(task_id)

    assert engineer.row(task_id, "a")["priority"] == 0


def test_a_step_without_budget_ends_its_task(worker: Worker) -> None:
    task_id = worker.start(wait_step("a"), wait_step("b"))

    worker.do(task_id, "a", failed("budget_exceeded"))

    task = worker.engineer.task(task_id)
    assert (task.status, (task.error or {})["code"]) == ("failed", "budget_exceeded")


def test_no_results_and_parts_are_stored_of_our_own_tasks(worker: Worker) -> None:
    all_done(worker)

    assert worker.engineer.ask("SELECT task_id FROM results") == []
    assert worker.engineer.ask("SELECT task_id FROM chord_parts") == []
