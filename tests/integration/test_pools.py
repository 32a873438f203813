"""Records of workers and arms: live processes, statistics, declarations."""

import pytest
from sqlalchemy import Engine, event

from orchestrator.chord.database import transaction
from orchestrator.memory import pools, registered_arms
from orchestrator.models.arm_capability import ARMS
from orchestrator.models.step_result import ResultStatus, StepResult
from orchestrator.planner.check import check_plan
from tests.integration.attempt_kit import process_of
from tests.integration.kit import Engineer, wait_step
from tests.plug_in_arms import action, declare, plug_in
from workers.attempt.context import AttemptContext
from workers.attempt.judging import judge
from workers.attempt.planning import RoutedPlan, plan_and_route
from workers.attempt.routing import choose_arms


def beat(engine: Engine, node: str, arm: str, *, busy: int = 0) -> None:
    with transaction(engine) as conn:
        pools.record_heartbeat(
            conn,
            pools.PoolReport(
                node=node,
                queue=ARMS[arm].queue,
                arm=arm,
                concurrency=4,
                busy=busy,
                isolation="basic",
                version="1.0",
                registry_digest="d",
            ),
        )


def grow_old(engine: Engine, node: str, seconds: int) -> None:
    with transaction(engine) as conn:
        conn.exec_driver_sql(
            "UPDATE pools SET seen_at = now() - make_interval(secs => %(age)s) WHERE node = %(node)s",
            {"age": seconds, "node": node},
        )


def test_a_pool_is_alive_until_it_leaves_or_stops_sending_heartbeats(
    engine: Engine, postgres_url: str
) -> None:
    for node in ("stays", "leaves", "silent"):
        beat(engine, node, "coder")
    beat(engine, "stays", "coder", busy=3)
    grow_old(engine, "silent", 60)

    with transaction(engine) as conn:
        pools.leave(conn, "leaves")
        pools.leave(conn, "leaves")
        living = pools.alive(conn)
        patient = pools.alive(conn, within_seconds=120)

    assert [(pool.node, pool.busy, pool.isolation) for pool in living] == [("stays", 3, "basic")]
    assert [pool.node for pool in patient] == ["silent", "stays"]


def test_rows_of_dead_processes_are_deleted_and_others_kept(engine: Engine, postgres_url: str) -> None:
    beat(engine, "living", "coder")
    beat(engine, "dead", "coder")
    grow_old(engine, "dead", 4000)

    with transaction(engine) as conn:
        forgotten = pools.forget_dead(conn)
        left = pools.alive(conn, within_seconds=10_000)

    assert forgotten == 1
    assert [pool.node for pool in left] == ["living"]


def test_every_arm_has_statistics_even_without_a_worker(engine: Engine, postgres_url: str) -> None:
    beat(engine, "one", "coder", busy=1)
    beat(engine, "two", "coder", busy=2)

    with transaction(engine) as conn:
        found = pools.arm_statistics(conn)

    assert list(found) == list(ARMS)
    coder, judge = found["coder"], found["judge"]
    assert (coder.workers, coder.busy, coder.concurrency) == (2, 3, 8)
    assert (judge.workers, judge.attempts, judge.average_latency_ms, judge.declared_status) == (
        0,
        0,
        None,
        None,
    )


def test_an_arms_history_counts_what_ended_and_what_waits(engine: Engine, engineer: Engineer) -> None:
    task_id = engineer.start(wait_step("good"), wait_step("bad"), wait_step("waits"))
    engineer.do(task_id, "good")
    engineer.fail(task_id, "bad")

    with transaction(engine) as conn:
        executor = pools.arm_statistics(conn)["executor"]

    assert (executor.attempts, executor.successes, executor.queued) == (2, 1, 1)
    assert executor.average_latency_ms is not None
    assert executor.average_latency_ms >= 0


def test_a_declaration_replaces_the_one_before(engine: Engine, postgres_url: str) -> None:
    with transaction(engine) as conn:
        pools.declare(conn, "acme", "coder", status="degraded", metadata={"a": 1}, declared_by="x")
        pools.declare(conn, "acme", "coder", status="healthy", metadata={"b": "\u0000é"}, declared_by="y")
        coder = pools.arm_statistics(conn, tenant="acme")["coder"]
        undeclared = pools.arm_statistics(conn)["coder"]

    assert undeclared.declared_status is None
    assert (coder.declared_status, coder.declared_metadata) == ("healthy", {"b": "\ufffdé"})


def test_a_step_is_done_by_the_next_arm_when_the_first_has_no_worker_and_waits_where_it_is_pinned(
    engineer: Engineer, monkeypatch: pytest.MonkeyPatch
) -> None:
    declare(monkeypatch, plug_in("first", action("look")), plug_in("second", action("look")))
    look = {"action": "look", "inputs": {"query": "x"}}
    plan = check_plan([{"id": "any", **look}, {"id": "pinned", "arm": "first", **look}])
    beat(engineer.engine, "living", "second")

    routes = choose_arms(process_of(engineer), plan)

    assert (routes["any"]["arm"], routes["any"]["action"]) == ("second", "look")
    assert routes["any"]["candidates"]["first.look"] == {"excluded": "no live worker"}
    assert routes["any"]["candidates"]["second.look"]["total"] == routes["any"]["score"]
    assert (routes["pinned"]["arm"], routes["pinned"]["score"]) == ("first", 0.0)
    assert routes["pinned"]["reason"].startswith("waiting for arm first")


def test_a_step_is_done_by_the_next_arm_when_the_circuit_breaker_of_the_first_is_open(
    engineer: Engineer, monkeypatch: pytest.MonkeyPatch
) -> None:
    declare(monkeypatch, plug_in("first", action("look")), plug_in("second", action("look")))
    plan = check_plan([{"id": "a", "action": "look", "inputs": {"query": "x"}}])
    for arm in ("first", "second"):
        beat(engineer.engine, arm, arm)
    closed = choose_arms(process_of(engineer), plan)["a"]
    with transaction(engineer.engine) as conn:
        registered_arms.report_outage(conn, "first", seconds=60, reason="its circuit breaker is open")

    opened = choose_arms(process_of(engineer), plan)["a"]

    assert (closed["arm"], opened["arm"]) == ("first", "second")
    assert opened["candidates"]["first.look"] == {"excluded": "its circuit breaker is open"}


def test_the_row_of_a_step_has_the_arm_and_the_action_that_were_chosen(
    engineer: Engineer, monkeypatch: pytest.MonkeyPatch
) -> None:
    met = [{"text": "something is seen", "check": {"pointer": "/seen", "at_least": 1}}]
    declare(
        monkeypatch,
        plug_in("first", action("look")),
        plug_in("second", action("watch", capabilities=["look"], met=met)),
    )
    beat(engineer.engine, "living", "second")
    process = process_of(engineer)
    task_id = engineer.submit({"id": "a", "capabilities": ["look"], "inputs": {"query": "x"}})

    claim = engineer.take(task_id, "$plan")
    routed = plan_and_route(AttemptContext.of(process, claim))
    assert isinstance(routed, RoutedPlan)
    engineer.adopt(claim, routed.plan, routed.routes)
    row = engineer.row(task_id, "a")
    engineer.store(engineer.take(task_id, "a"), StepResult(ResultStatus.DONE, output={"seen": 0}))
    verdict = judge(AttemptContext.of(process, engineer.take(task_id, "$judge"))).verdict

    assert (row["arm"], row["queue"], row["spec"]["action"]) == ("second", "arm.second", "watch")
    assert [(finding.criterion, finding.met) for finding in verdict.findings][1:] == [
        ("something is seen", False)
    ]


def test_a_plan_is_routed_without_a_statement_by_statistics_read_before(engineer: Engineer) -> None:
    process = process_of(engineer)
    plan = check_plan({"steps": [wait_step("one")]}, attachments=())
    beat(engineer.engine, "living", "executor")
    process.arm_statistics.get()
    sent: list[str] = []

    def note(_conn: object, _cursor: object, text: str, *_: object) -> None:
        sent.append(text)

    event.listen(engineer.engine, "before_cursor_execute", note)
    routes = choose_arms(process, plan)
    event.remove(engineer.engine, "before_cursor_execute", note)

    assert routes["one"]["arm"] == "executor"
    assert "score" in routes["one"]["reason"]
    assert sent == []
