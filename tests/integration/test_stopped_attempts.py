"""A stopped attempt stores nothing, whatever stopped it: no plan, no verdict and no step result."""

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis
from celery.app.trace import build_tracer

from orchestrator import executor
from orchestrator.chord.chord import Refused
from orchestrator.chord.database import statement, transaction
from orchestrator.lifecycle import cancel, submission
from orchestrator.memory import steps
from orchestrator.memory.claims import Claim
from orchestrator.models.caller import Caller
from orchestrator.models.execution_state import StepKind
from orchestrator.models.task_contract import Budget, Contract, Criterion
from orchestrator.models.verdict import Decision
from orchestrator.planner.check import check_plan
from orchestrator.queue.app import TASK_NAMES
from tests.fake_llm.faults import Fault
from tests.fake_llm.server import FakeLLM
from tests.integration.kit import TENANT, Engineer, done, verdict, wait_step
from tests.waiting import wait_until
from workers.runtime import process
from workers.tasks import app

NOT_FOR_RULES = (Criterion("the poem is good"),)
SCAN = "Scan this text for secrets"
NEVER = 3600.0


class Attempt:
    """Runs a row in its own thread, through Celery's tracer and the real completion hook, with a model that hangs."""

    def __init__(self, engineer: Engineer, fake: FakeLLM) -> None:
        self.engineer = engineer
        self.fake = fake
        self._thread: threading.Thread | None = None

    def begin(self, task_id: str, name: str) -> None:
        """Run the newest row of that name until its model has been asked."""
        row = self.engineer.row(task_id, name)
        task = app.tasks[TASK_NAMES[StepKind(row["kind"])]]
        request = {"id": row["id"], "task": task.name, "group": row["chord_id"], "delivery_info": {}}
        tracer: Callable[..., Any] = build_tracer(task.name, task, app=app)
        asked = len(self.fake.received)
        self._thread = threading.Thread(
            target=tracer, args=(row["id"], (task_id, name), {}, request), daemon=True
        )
        self._thread.start()
        wait_until(lambda: len(self.fake.received) > asked, 20, "the model to be asked")

    def end(self) -> None:
        """Wait until the run is over."""
        assert self._thread is not None
        self._thread.join(20)
        assert not self._thread.is_alive()

    def lose_lease(self, task_id: str, name: str) -> None:
        """Let the lease expire, let another worker claim the row, and renew this process' leases."""
        row_id = self.engineer.row(task_id, name)["id"]

        def claim_it() -> Claim | None:
            self.engineer.ask(
                "UPDATE steps SET due = now() - interval '1 second' WHERE id = %(id)s", id=row_id
            )
            return self.engineer.claim(task_id, name, owner="another", lease_seconds=NEVER)

        # this process's heartbeat may renew the lease before the other worker's claim
        wait_until(claim_it, 20, "the other worker to be first")
        process.of(app).leases.beat()


@pytest.fixture
def two_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Limit planning and judging to 2 s."""
    for work in ("PLANNING", "JUDGING", "LLM"):
        monkeypatch.setenv(f"{work}_TIMEOUT_SECONDS", "2")


@pytest.fixture
def attempt(engineer: Engineer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Attempt]:
    """A worker process whose only model hangs."""
    with FakeLLM() as fake:
        fake.fail(Fault.HANG)
        monkeypatch.setenv("OPENAI_API_KEY", "k")
        monkeypatch.setenv("OPENAI_BASE_URL", fake.openai_url)
        process.start(app, service="tests")
        yield Attempt(engineer, fake)
        process.of(app).cancellations.stop()
        with redis.Redis.from_url(engineer.settings.redis_url) as client:
            client.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
    monkeypatch.undo()
    process.start(app, service="tests")


def judged(engineer: Engineer, **contract: Any) -> str:
    """Return a task whose one step is done, and whose judge needs a model."""
    task_id = engineer.start(wait_step("a"), acceptance_criteria=NOT_FOR_RULES, **contract)
    engineer.do(task_id, "a")
    return task_id


def submitted(engineer: Engineer, *, budget: Budget | None = None) -> str:
    """Return a task that the model should plan; a recipe fits it, too."""
    contract = Contract(goal=SCAN, context="a text", budget=budget or Budget())
    return submission.submit(
        engineer.engine,
        settings=engineer.settings,
        caller=Caller(TENANT),
        contract=contract,
    ).task_id


def test_a_judge_whose_lease_was_lost_does_not_complete_the_task_unjudged(
    engineer: Engineer, attempt: Attempt
) -> None:
    task_id = judged(engineer)
    attempt.begin(task_id, "$judge")

    attempt.lose_lease(task_id, "$judge")
    attempt.end()

    row = engineer.row(task_id, "$judge")
    assert (row["state"], row["attempt"], row["owner"]) == ("running", 2, "another")
    assert engineer.task(task_id).status == "processing"


def test_a_judge_whose_worker_stops_does_not_complete_the_task_unjudged(
    engineer: Engineer, attempt: Attempt
) -> None:
    task_id = judged(engineer)
    attempt.begin(task_id, "$judge")
    worker = process.of(app)

    worker.hand_back(
        engineer.row(task_id, "$judge")["id"], task_id=task_id, owner=worker.process.owner, died=False
    )
    worker.leases.drop()
    attempt.end()

    assert engineer.row(task_id, "$judge")["state"] == "queued"
    assert engineer.task(task_id).status == "processing"


def test_a_judge_stopped_by_the_task_s_deadline_stores_nothing(engineer: Engineer, attempt: Attempt) -> None:
    task_id = judged(engineer, budget=Budget(max_time_seconds=2))
    attempt.begin(task_id, "$judge")

    attempt.end()

    assert engineer.row(task_id, "$judge")["state"] == "running"
    assert engineer.task(task_id).status == "processing"


@pytest.mark.usefixtures("two_seconds")
def test_a_judge_that_exceeds_its_time_limit_is_retried_without_a_verdict(
    engineer: Engineer, attempt: Attempt
) -> None:
    # open the models first: a slow import of the SDK must not use up the time limit
    assert process.of(app).models
    task_id = judged(engineer)
    attempt.begin(task_id, "$judge")

    attempt.end()

    row = engineer.row(task_id, "$judge")
    assert (row["state"], row["failures"]) == ("queued", 1)
    assert engineer.events(task_id)[-1].payload["error"]["code"] == "judging_timeout"


@pytest.mark.usefixtures("two_seconds")
def test_a_planner_out_of_time_and_retries_fails_the_task_and_uses_no_recipe(
    engineer: Engineer, attempt: Attempt
) -> None:
    assert process.of(app).models
    task_id = submitted(engineer, budget=Budget(max_retries=0))
    attempt.begin(task_id, "$plan")

    attempt.end()

    task = engineer.task(task_id)
    error = task.error or {}
    assert (task.status, error["code"]) == ("failed", "planning_timeout")
    assert "PLANNING_TIMEOUT_SECONDS" in error["message"]


def test_a_planner_whose_lease_was_lost_does_not_fall_back_to_a_recipe(
    engineer: Engineer, attempt: Attempt
) -> None:
    task_id = submitted(engineer)
    attempt.begin(task_id, "$plan")

    attempt.lose_lease(task_id, "$plan")
    attempt.end()

    row = engineer.row(task_id, "$plan")
    assert (row["state"], row["attempt"], row["owner"]) == ("running", 2, "another")
    assert engineer.ask("SELECT 1 FROM rounds WHERE task_id = %(task)s", task=task_id) == []


def test_a_step_whose_lease_was_lost_stores_nothing(engineer: Engineer, attempt: Attempt) -> None:
    step = {"id": "a", "arm": "retriever", "action": "answer", "inputs": {"question": "How many files?"}}
    task_id = engineer.start({**step, "depends_on": []}, context="There are many files.")
    attempt.begin(task_id, "a")

    attempt.lose_lease(task_id, "a")
    attempt.end()

    row = engineer.row(task_id, "a")
    assert (row["state"], row["attempt"], row["result"]) == ("running", 2, None)


def test_a_cancelled_judge_stores_nothing(engineer: Engineer, attempt: Attempt) -> None:
    task_id = judged(engineer)
    attempt.begin(task_id, "$judge")

    cancel.cancel(engineer.engine, tenant=TENANT, task_id=task_id)
    process.of(app).leases.beat()
    attempt.end()

    assert engineer.task(task_id).status == "cancelled"
    assert engineer.ask("SELECT 1 FROM rounds WHERE verdict IS NOT NULL") == []


def test_a_verdict_of_a_superseded_attempt_is_refused(engineer: Engineer) -> None:
    task_id = engineer.start(wait_step("a"))
    engineer.do(task_id, "a")
    first = engineer.take(task_id, "$judge", owner="frozen", lease_seconds=0)
    second = engineer.take(task_id, "$judge", owner="another")

    with pytest.raises(Refused):
        engineer.conclude(first, verdict(Decision.INCONCLUSIVE))
    engineer.conclude(second, verdict(Decision.PASSED))

    assert (engineer.task(task_id).result or {})["validation_passed"] is True


def test_a_verdict_of_an_attempt_whose_lease_expired_is_refused(engineer: Engineer) -> None:
    task_id = engineer.start(wait_step("a"))
    engineer.do(task_id, "a")
    frozen = engineer.take(task_id, "$judge", lease_seconds=0)
    with statement(engineer.engine) as conn:
        assert steps.expire(conn, frozen.id) is not None

    with pytest.raises(Refused):
        engineer.conclude(frozen, verdict(Decision.INCONCLUSIVE))


def test_a_plan_of_a_superseded_attempt_is_refused(engineer: Engineer) -> None:
    task_id = engineer.submit(wait_step("a"))
    first = engineer.take(task_id, "$plan", owner="frozen", lease_seconds=0)
    engineer.take(task_id, "$plan", owner="another")
    plan = check_plan(first.contract["plan"])

    with pytest.raises(Refused), transaction(engineer.engine) as conn:
        executor.adopt(
            conn, first, plan, routes={"a": {"arm": "executor", "action": "wait"}}, settings=engineer.settings
        )


def test_a_step_s_first_success_counts_even_from_a_superseded_attempt(engineer: Engineer) -> None:
    task_id = engineer.start(wait_step("a"))
    first = engineer.take(task_id, "a", owner="slow", lease_seconds=0)
    engineer.take(task_id, "a", owner="another")

    engineer.store(first, done())

    assert engineer.states(task_id)["a"] == "done"
