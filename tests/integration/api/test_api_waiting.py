"""GET /v1/tasks/{id}/waiting: for every state that is not final it says for what, for whom and until when."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import Engine

from orchestrator.chord.database import statement
from orchestrator.lifecycle import requeue
from orchestrator.lifecycle.metered_calls import ClaimBudgetAccount
from orchestrator.llm.completion import UsageBound
from orchestrator.memory import arm_history, registered_arms, tasks, waiting
from orchestrator.memory.registered_arms import Registration
from orchestrator.models.errors import BudgetTaken
from orchestrator.models.model_errors import ModelBusy
from orchestrator.models.task_contract import Budget
from orchestrator.models.verdict import Decision
from orchestrator.settings import Settings
from tests.integration.api.assertions import assert_problem, assert_time
from tests.integration.api.conftest import AsCaller, Caller
from tests.integration.approval_kit import gated, question
from tests.integration.budget_kit import reserve
from tests.integration.cache.kit import GOAL, Company
from tests.integration.conftest import Login
from tests.integration.effect_kit import begin
from tests.integration.http_arm_kit import ARM, MANIFEST
from tests.integration.kit import TENANT, Engineer, verdict, wait_step
from tests.integration.test_pools import beat, grow_old
from tests.ledger import Ledger, append


@pytest.fixture
def company(engineer: Engineer, settings: Settings) -> Company:
    """Clients whose equal goals are coalesced."""
    return Company(engineer.engine, settings)


@pytest.fixture
def worker(engine: Engine) -> None:
    """Two live workers of the executor with 4 slots each, one slot busy."""
    beat(engine, "one", "executor", busy=1)
    beat(engine, "two", "executor")


def of_task(call: Caller, task_id: str) -> list[dict[str, Any]]:
    answer = call("GET", f"/v1/tasks/{task_id}/waiting")
    assert answer.status_code == 200, answer.json
    return list(answer.json["sentences"])


def of_step(call: Caller, task_id: str, name: str) -> dict[str, Any]:
    return next(one for one in of_task(call, task_id) if one["step_id"] == name)


def of_row(call: Caller, task_id: str, kind: str) -> dict[str, Any]:
    """Return the only sentence of this kind that is about no step."""
    [found] = [one for one in of_task(call, task_id) if one["step_id"] is None and one["kind"] == kind]
    return found


def change(engineer: Engineer, task_id: str, name: str, **columns: Any) -> None:
    assigned = ", ".join(f"{column} = %({column})s" for column in columns)
    engineer.ask(
        f"UPDATE steps SET {assigned} WHERE id = %(step)s",
        step=engineer.row(task_id, name)["id"],
        **columns,
    )


def test_the_task_s_sentence_counts_its_steps_and_names_its_last_moment(
    engineer: Engineer, call: Caller
) -> None:
    task_id = engineer.start(wait_step("a"), wait_step("b"), wait_step("c", "a"))
    engineer.take(task_id, "a")

    [first, *_] = of_task(call, task_id)

    assert (first["step_id"], first["kind"]) == (None, "task")
    assert first["text"].startswith(
        "The task is being executed: 1 running, 1 queued, 1 waiting for other steps. It ends at the latest at "
    )
    assert_time(first["until"])


def test_a_blocked_step_names_the_open_steps_it_depends_on(engineer: Engineer, call: Caller) -> None:
    names = [f"s{number}" for number in range(8)]
    task_id = engineer.start(*map(wait_step, names), wait_step("end", *names))
    engineer.do(task_id, "s0")

    end = of_step(call, task_id, "end")

    assert end["kind"] == "dependency"
    assert end["text"] == "Step end waits for 7 steps: s1, s2, s3, s4, s5, s6 and 1 more."
    assert of_row(call, task_id, "judge")["text"] == "The verdict waits for 8 open steps."


def test_a_held_step_names_the_slots_and_who_holds_them(engineer: Engineer, call: Caller) -> None:
    narrow = Engineer(engineer.engine, replace(engineer.settings, max_parallel_arms=5))
    task_id = narrow.start(*(wait_step(f"s{number}") for number in range(7)))

    held = of_step(call, task_id, "s6")

    assert held["kind"] == "slot"
    assert held["text"] == (
        "Step s6 waits for one of the task's 5 slots (MAX_PARALLEL_ARMS), which s0, s1, s2, s3, s4 hold."
    )


def test_a_step_of_an_arm_without_a_worker_says_so(engineer: Engineer, engine: Engine, call: Caller) -> None:
    beat(engine, "dead", "executor")
    grow_old(engine, "dead", 60)
    task_id = engineer.start(wait_step("a"))

    found = of_step(call, task_id, "a")

    assert (found["kind"], found["arm"]) == ("worker", "executor")
    assert found["text"] == "Step a waits for arm executor, which no worker serves."


def test_workers_that_take_no_work_say_why(engineer: Engineer, engine: Engine, call: Caller) -> None:
    beat(engine, "one", "executor")
    engineer.ask("UPDATE pools SET unavailable = 'no sandbox works'")
    task_id = engineer.start(wait_step("a"))

    found = of_step(call, task_id, "a")

    assert found["kind"] == "worker"
    assert found["text"] == "Step a waits for arm executor, whose workers take no work: no sandbox works."


@pytest.mark.usefixtures("worker")
def test_a_queued_step_counts_what_is_ahead_of_it(engineer: Engineer, call: Caller) -> None:
    engineer.start(wait_step("x"), tenant="other")
    engineer.start(wait_step("y"))
    task_id = engineer.start(wait_step("a"))

    free = of_step(call, task_id, "a")
    engineer.ask("UPDATE pools SET busy = concurrency")
    busy = of_step(call, task_id, "a")

    assert free["kind"] == busy["kind"] == "slot"
    assert free["text"] == "Step a is queued for arm executor: 7 of 8 slots are free, 2 ahead of it."
    assert busy["text"] == "Step a waits for arm executor: all 8 slots are busy, 2 ahead of it."


@pytest.mark.usefixtures("worker")
def test_a_tenant_s_share_of_an_arm_is_named(engineer: Engineer, call: Caller) -> None:
    engineer.submit(wait_step("x"), tenant="other")
    names = [f"s{number}" for number in range(8)]
    task_id = engineer.start(*map(wait_step, names))
    for name in names[:7]:
        engineer.take(task_id, name)

    found = of_step(call, task_id, "s7")

    assert found["kind"] == "slot"
    assert "has 7 of 8 slots, and the rest is for other tenants" in found["text"]


@pytest.mark.usefixtures("worker")
def test_a_retry_says_when_and_why(engineer: Engineer, call: Caller) -> None:
    task_id = engineer.start(wait_step("a"))
    claim = engineer.take(task_id, "a")
    with statement(engineer.engine) as conn:
        error = {"code": "tool_failed", "message": "The disk was full."}
        assert requeue.retry_step(conn, claim, error=error, delay_seconds=60)

    found = of_step(call, task_id, "a")

    assert found["kind"] == "retry"
    assert found["text"].startswith("Step a is tried again at ")
    assert found["text"].endswith("Z: The disk was full.")
    assert_time(found["until"])
    change(engineer, task_id, "a", not_before=datetime.now(UTC) + timedelta(seconds=90))
    assert "disk" not in of_step(call, task_id, "a")["text"], "it was put off again since, for another reason"


@pytest.mark.usefixtures("worker")
def test_a_model_at_its_limit_says_until_when(engineer: Engineer, call: Caller) -> None:
    task_id = engineer.start(wait_step("a"))
    busy = ModelBusy("openai:small is at its rate limit (requests).", details={"retry_after": 30})
    assert requeue.postpone(engineer.engine, engineer.take(task_id, "a"), busy)

    found = of_step(call, task_id, "a")

    assert found["kind"] == "model_limit"
    assert found["text"].startswith("Step a waits for a model until ")
    assert found["text"].endswith(": openai:small is at its rate limit (requests).")
    assert_time(found["until"])


@pytest.mark.usefixtures("worker")
def test_a_budget_held_by_others_says_how_much_is_reserved_and_free(engineer: Engineer, call: Caller) -> None:
    task_id = engineer.start(
        wait_step("a"), wait_step("b"), budget=Budget(max_tokens=1000, max_cost_dollars=Decimal(2))
    )
    reserve(
        ClaimBudgetAccount(engineer.engine, engineer.take(task_id, "a")), UsageBound(600, 100, Decimal("0.5"))
    )
    taken = BudgetTaken("Other calls of the task reserve 700 of max_tokens.", details={"retry_after": 30})
    assert requeue.postpone(engineer.engine, engineer.take(task_id, "b"), taken)

    found = of_step(call, task_id, "b")

    assert found["kind"] == "budget"
    assert (
        "other calls reserve 700 tokens, 300 of 1000 are free; $0.5000 reserved, $1.5000 of $2.0000 free"
        in (found["text"])
    )
    running = of_step(call, task_id, "a")
    assert running["kind"] == "running"
    assert "a model is asked since " in running["text"]
    assert running["text"].endswith("700 tokens reserved.")


def test_an_open_breaker_says_until_when(engineer: Engineer, engine: Engine, call: Caller) -> None:
    task_id = engineer.start(wait_step("a"))
    wanted = Registration(
        arm_id=ARM,
        tenant=TENANT,
        is_shared=False,
        manifest=MANIFEST,
        url="http://x.example",
        registered_by="me",
    )
    with statement(engine) as conn:
        assert registered_arms.register(conn, wanted, ttl_seconds=60, max_arms=9)
        registered_arms.report_outage(conn, ARM, seconds=60, reason="its circuit breaker is open")
    change(engineer, task_id, "a", arm=ARM, queue="arm.remote")

    found = of_step(call, task_id, "a")

    assert (found["kind"], found["arm"]) == ("outage", ARM)
    assert found["text"].endswith(": its circuit breaker is open.")
    assert_time(found["until"])


def test_an_approval_says_by_whom_until_when_and_what_comes_then(engineer: Engineer, call: Caller) -> None:
    task_id = engineer.start(gated("a", by="the desk"), question("b"))

    approval, answer = of_step(call, task_id, "a"), of_step(call, task_id, "b")

    assert (approval["kind"], approval["by"]) == ("approval", "the desk")
    assert approval["text"].startswith("Step a waits for approval by the desk until ")
    assert approval["text"].endswith("; then it is rejected. run a?")
    assert approval["approval_id"].startswith("appr_")
    assert_time(approval["until"])
    assert answer["text"].startswith("Step b waits for an answer until ")


def test_a_running_step_says_who_runs_it_and_since_when(engineer: Engineer, call: Caller) -> None:
    task_id = engineer.start(wait_step("a"))
    engineer.take(task_id, "a", owner="host:7")

    found = of_step(call, task_id, "a")

    assert (found["kind"], found["by"]) == ("running", "host:7")
    assert found["text"].startswith("Step a is run by host:7 since ")


def test_a_lost_lease_says_what_happens_next(engineer: Engineer, call: Caller, ledger: Ledger) -> None:
    task_id = engineer.start(wait_step("a"), append("b"))
    engineer.take(task_id, "a", owner="host:7")
    assert begin(engineer, engineer.take(task_id, "b", owner="host:8"))
    for name in ("a", "b"):
        change(engineer, task_id, name, due=datetime.now(UTC) - timedelta(seconds=5))

    lost, effect = of_step(call, task_id, "a"), of_step(call, task_id, "b")

    assert (lost["kind"], effect["kind"]) == ("lease", "lease")
    assert lost["text"].startswith("Step a has lost its worker host:7: the lease ended at ")
    assert lost["text"].endswith(", another worker will take it over.")
    assert effect["text"].endswith(", a person will be asked whether its effect happened.")


def test_a_step_that_killed_its_workers_is_given_up(engineer: Engineer, engine: Engine, call: Caller) -> None:
    beat(engine, "one", "executor")
    task_id = engineer.start(wait_step("a"))
    change(engineer, task_id, "a", kills=engineer.settings.poison_step)

    found = of_step(call, task_id, "a")

    assert (
        found["text"]
        == f"Step a is about to be given up: {engineer.settings.poison_step} workers died with it."
    )


def test_a_task_that_is_planned_waits_for_its_planner(
    engineer: Engineer, engine: Engine, call: Caller
) -> None:
    task_id = engineer.submit(wait_step("a"))
    alone = of_row(call, task_id, "worker")
    engineer.take(task_id, "$plan", owner="host:1")

    planned = of_row(call, task_id, "planner")

    assert alone["text"] == "The plan waits for arm planner, which no worker serves."
    assert planned["text"].startswith("The plan is being made by host:1 since ")


def test_a_task_that_is_judged_waits_for_its_judge_and_then_for_its_answer(
    engineer: Engineer, engine: Engine, call: Caller
) -> None:
    task_id = engineer.start(wait_step("a"))
    engineer.do(task_id, "a")
    engineer.take(task_id, "$judge", owner="host:2")
    judged = of_row(call, task_id, "judge")
    with statement(engine) as conn:
        tasks.enter_finishing(conn, task_id)

    finished = of_row(call, task_id, "judge")

    assert judged["text"].startswith("The verdict is being made by host:2 since ")
    assert finished["text"].startswith(
        "The verdict is given, and the answer is being written by host:2 since "
    )


def test_a_follower_waits_for_the_task_that_does_the_work(company: Company, call: Caller) -> None:
    leader = company.submit(GOAL).task_id
    follower = company.submit(GOAL).task_id

    [first, *others] = of_task(call, follower)

    assert (first["kind"], first["by"]) == ("task", leader)
    assert first["text"] == f"The task waits for the result of task {leader}, which does the same work."
    assert [one["kind"] for one in others] == ["worker"]


def test_an_ended_task_waits_for_nothing(engineer: Engineer, call: Caller) -> None:
    task_id = engineer.start(wait_step("a"))
    engineer.do(task_id, "a")
    engineer.judge(task_id, verdict(Decision.PASSED))

    answer = call("GET", f"/v1/tasks/{task_id}/waiting")

    assert answer.json == {"task_id": task_id, "status": "completed", "sentences": [], "left_out": 0}


def test_an_answer_has_at_most_200_steps_and_counts_the_others(engineer: Engineer, call: Caller) -> None:
    task_id = engineer.start(wait_step("a"))
    row = engineer.row(task_id, "a")
    engineer.ask(
        """INSERT INTO steps (id, task_id, tenant, round, kind, name, arm, queue, priority, chord_id, state)
           SELECT 'many' || n, task_id, tenant, round, kind, 'many' || n, arm, queue, priority, chord_id, 'blocked'
           FROM steps, generate_series(1, 300) n WHERE id = %(id)s""",
        id=row["id"],
    )

    answer = call("GET", f"/v1/tasks/{task_id}/waiting").json

    assert len(answer["sentences"]) == 1 + waiting.MAX_ROWS
    assert answer["left_out"] == 102
    assert answer["sentences"][0]["text"].startswith("The task is being executed: 1 queued,")
    assert "and 102 more open" in answer["sentences"][0]["text"]


def test_an_api_process_has_the_rights_to_read_what_is_waited_for_and_what_arms_did(
    engineer: Engineer, login: Login
) -> None:
    task_id = engineer.start(wait_step("a"), gated("b"))

    with statement(login("web")) as conn:
        rows = waiting.open_rows(conn, task_id)
        history = arm_history.read(conn, ["executor"], tenant=TENANT, minutes=5)

    assert [(row.name, row.state) for row in rows] == [
        ("b", "waiting"), ("a", "queued"), ("$judge", "blocked"),
    ]  # fmt: skip
    assert len(history["executor"].minutes) == 5


def test_what_a_task_waits_for_is_only_told_to_its_tenant(
    engineer: Engineer, as_caller: AsCaller, call: Caller
) -> None:
    task_id = engineer.start(wait_step("a"))
    unchanged = call("GET", f"/v1/tasks/{task_id}/waiting").headers["ETag"]

    answer = as_caller("other")("GET", f"/v1/tasks/{task_id}/waiting")
    again = call("GET", f"/v1/tasks/{task_id}/waiting", headers={"If-None-Match": unchanged})

    assert_problem(answer, 404, "resource_not_found")
    assert again.status_code == 304
