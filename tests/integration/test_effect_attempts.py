"""What becomes of a write whose attempt ends oddly: the arm says that it failed, or a person is asked."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from celery import states
from celery.app.task import Context
from celery.exceptions import Ignore

from orchestrator.bootstrap import WorkerProcess
from orchestrator.chord.chord import Refused
from orchestrator.chord.database import transaction
from orchestrator.lifecycle import cancel, requeue
from orchestrator.lifecycle.effects import Loss
from orchestrator.lifecycle.round_rows import latest_end
from orchestrator.models.approval import Verb
from orchestrator.models.execution_state import StepKind
from orchestrator.models.step_result import StepResult
from orchestrator.queue.app import TASK_NAMES
from tests.integration.approval_kit import asked, decide
from tests.integration.attempt_kit import process_of, run_step
from tests.integration.effect_kit import all_asked, begin, expire
from tests.integration.kit import TENANT, Engineer, done, wait_step
from tests.ledger import Ledger, append
from workers.arms.base import CancelToken
from workers.attempt.base_task import AttemptState
from workers.attempt.concerns.lease import hold_lease
from workers.attempt.context import AttemptContext
from workers.runtime import process
from workers.runtime.lost_effect import ask_about
from workers.tasks import app

pytestmark = pytest.mark.usefixtures("ledger")


@pytest.fixture
def worker(engineer: Engineer) -> WorkerProcess:
    """A worker's process."""
    return process_of(engineer)


@pytest.fixture
def owner(engineer: Engineer) -> Iterator[WorkerProcess]:
    """A worker's process with its leases, as Celery's signals start it."""
    worker = process.start(app, service="tests")
    yield worker.process
    worker.cancellations.stop()


@pytest.mark.parametrize("then", ["not_know", "crash", "take_too_long"])
def test_an_outcome_that_the_arm_leaves_open_is_asked_about(
    engineer: Engineer, worker: WorkerProcess, ledger: Ledger, then: str
) -> None:
    task_id = engineer.start(append("a", then=then))

    with pytest.raises(Ignore):
        run_step(AttemptContext.of(worker, engineer.take(task_id, "a")))

    assert engineer.states(task_id)["a"] == "waiting"
    assert asked(engineer, task_id, "a").proposal["effect"]["reason"] == "reported"
    assert len(ledger.lines()) == 1


def test_a_write_that_outlasts_its_time_limit_is_asked_about(
    engineer: Engineer, worker: WorkerProcess
) -> None:
    task_id = engineer.start({**append("a", seconds_after=30), "timeout_seconds": 0.3})
    context = AttemptContext.of(worker, engineer.take(task_id, "a"))
    stop = CancelToken(context.deadline)

    with pytest.raises(Ignore):
        run_step(replace(context, stop=stop))

    assert asked(engineer, task_id, "a").kind == "outcome"


def test_a_failure_that_the_arm_reports_itself_says_that_nothing_happened(
    engineer: Engineer, worker: WorkerProcess
) -> None:
    task_id = engineer.start(append("final", then="fail"), append("retried", then="fail_for_now"))

    final = run_step(AttemptContext.of(worker, engineer.take(task_id, "final")))
    with pytest.raises(Ignore):
        run_step(AttemptContext.of(worker, engineer.take(task_id, "retried")))

    assert (final.status, all_asked(engineer, task_id)) == ("failed", [])
    row = engineer.row(task_id, "retried")
    assert (row["state"], row["failures"], row["effect_attempt"]) == ("queued", 1, None)


def test_an_error_after_which_the_arm_may_have_acted_fails_the_step_and_is_not_tried_again(
    engineer: Engineer, worker: WorkerProcess
) -> None:
    task_id = engineer.start(append("a", then="report"), append("idempotent", action="put", then="report"))

    failed = run_step(AttemptContext.of(worker, engineer.take(task_id, "a")))
    with pytest.raises(Ignore):
        run_step(AttemptContext.of(worker, engineer.take(task_id, "idempotent")))

    assert failed.error is not None
    assert (failed.error["code"], failed.error["retryable"]) == ("tool_failed", False)
    assert failed.error["details"] == {"may_have_acted": True}
    assert all_asked(engineer, task_id) == []


def test_an_idempotent_write_runs_again_by_itself_with_the_same_key(
    engineer: Engineer, worker: WorkerProcess, ledger: Ledger
) -> None:
    task_id = engineer.start(append("lost", action="put"), append("unsure", action="put", then="not_know"))
    claim = engineer.take(task_id, "lost")
    run_step(AttemptContext.of(worker, claim))
    expire(engineer, claim)
    assert requeue.expire_lease(engineer.engine, claim.id, task_id=task_id) is not None
    run_step(AttemptContext.of(worker, engineer.take(task_id, "lost")))
    with pytest.raises(Ignore):
        run_step(AttemptContext.of(worker, engineer.take(task_id, "unsure")))

    assert engineer.row(task_id, "unsure")["state"] == "queued"
    assert [line.key for line in ledger.lines() if line.text == "lost"] == [claim.id] * 2
    assert all_asked(engineer, task_id) == []


@pytest.mark.parametrize("has_begun", [True, False])
def test_a_result_that_comes_after_the_lease_was_lost_is_offered_once_an_effect_has_begun(
    engineer: Engineer, owner: WorkerProcess, has_begun: bool
) -> None:
    """The database decides whether it still counts; the result of any other step is discarded."""
    claim = engineer.take(engineer.start(append("a")), "a")

    def work(attempt: AttemptContext) -> StepResult:
        attempt.effect.has_begun = has_begun
        attempt.stop.set()
        return done()

    if has_begun:
        assert hold_lease(AttemptContext.of(owner, claim), work).error is None
    else:
        with pytest.raises(Ignore):
            hold_lease(AttemptContext.of(owner, claim), work)


@pytest.mark.parametrize("action", ["append", "put"])
def test_a_worker_that_fails_around_an_effect_does_not_call_it_failed(
    engineer: Engineer, owner: WorkerProcess, action: str
) -> None:
    """A defect of ours, or an error of Celery's: the lease ends, and a person is asked."""
    task_id = engineer.start(append("a", action=action))
    claim = engineer.take(task_id, "a")
    assert begin(engineer, claim, once=action == "append")
    request = Context({"id": claim.id, "task": "arm.step", "group": claim.chord_id})
    request.update(attempt_state=AttemptState(claim))
    task: Any = owner.app.tasks[TASK_NAMES[StepKind.STEP]]
    hook = task.on_stored

    with transaction(engineer.engine) as conn:
        if action == "append":
            with pytest.raises(Refused):
                hook(conn, request, states.FAILURE, ValueError())
        else:
            hook(conn, request, states.FAILURE, ValueError())

    assert engineer.row(task_id, "a")["state"] == ("running" if action == "append" else "failed")


def test_a_permit_lasts_as_long_as_people_may_take_to_decide(engineer: Engineer) -> None:
    """Else a step that may run again after a day would have no right to."""
    task_id = engineer.start(append("once"), append("again", action="put"), wait_step("read"))
    rows = [engineer.row(task_id, name) for name in ("once", "again", "read")]
    deadline = engineer.task(task_id).deadline_at

    ends = [
        (latest_end(one, deadline_at=deadline, contract={}) - deadline).total_seconds()
        for one in (rows, rows[1:])
    ]

    assert ends == [86_400, 0]
    assert latest_end(rows, deadline_at=deadline, contract={"deadline": deadline.isoformat()}) == deadline


def test_the_end_of_a_task_says_which_effects_are_unknown(engineer: Engineer, worker: WorkerProcess) -> None:
    task_id = engineer.start(append("running"), append("waiting"), append("before"), wait_step("read"))
    for name in ("running", "waiting", "before", "read"):
        claim = engineer.take(task_id, name)
        if name in ("running", "waiting"):
            assert begin(engineer, claim)
        if name == "waiting":
            expire(engineer, claim)
            assert ask_about(worker, Loss(claim.id, task_id, reason="lease_expired"))

    cancel.cancel(engineer.engine, tenant=TENANT, task_id=task_id)

    told = {
        event.payload["step"]: event.payload["error"]["code"]
        for event in engineer.events(task_id)
        if event.type == "step.failed"
    }
    unknown = {"running": "outcome_unknown", "waiting": "outcome_unknown"}
    assert told == {**unknown, "before": "cancelled", "read": "cancelled"}
    assert engineer.events(task_id)[-1].payload["outcome_unknown"] == ["running", "waiting"]
    assert asked(engineer, task_id, "waiting").state == "withdrawn"


def test_poison_and_the_mark_do_not_meet(engineer: Engineer, worker: WorkerProcess) -> None:
    """A write that kills its workers before the mark is given up like any other; after it, a person decides."""
    task_id = engineer.start(append("a"))
    for _ in range(2):
        claim = engineer.take(task_id, "a", owner="host:1")
        assert requeue.hand_back(engineer.engine, claim.id, task_id=task_id, owner="host:1", died=True)
    claim = engineer.take(task_id, "a", owner="host:1")
    assert begin(engineer, claim)

    assert requeue.hand_back(engineer.engine, claim.id, task_id=task_id, owner="host:1", died=True) is None
    assert ask_about(worker, Loss(claim.id, task_id, reason="worker_lost", owner="host:1"))
    decide(engineer, asked(engineer, task_id, "a"), Verb.RUN_AGAIN)

    assert engineer.take(task_id, "a").kills == 2
