"""ENGINE.md, rules 13 and 14: leases are kept alive, swept and given up."""

import threading
import time
from functools import partial

import pytest
import redis
import structlog

from orchestrator.bootstrap import WorkerProcess
from orchestrator.chord.database import transaction
from orchestrator.lifecycle import cancel, requeue
from orchestrator.memory.hints import Hints
from tests.integration.kit import TENANT, Engineer, wait_step
from tests.waiting import wait_until
from workers.runtime import process
from workers.runtime.heartbeat import Leases
from workers.sweeper import BATCH, EPOCH_KEY, Sweeper, Swept
from workers.tasks import app


def test_rule_13_a_heartbeat_renews_a_lease_and_a_lost_one_sets_its_token(engineer: Engineer) -> None:
    task_id = engineer.start(wait_step("a"), wait_step("b"))
    leases = Leases(engineer.engine, lease_seconds=15, heartbeat_seconds=60)
    held = engineer.take(task_id, "a", lease_seconds=1)
    lost = engineer.take(task_id, "b", lease_seconds=0.01)
    deadline = time.monotonic() + 60
    with leases.hold(held, deadline=deadline) as alive, leases.hold(lost, deadline=deadline) as dead:
        wait_until(lambda: engineer.claim(task_id, "b", owner="w2"), 5, "the lease to end")
        before = engineer.row(task_id, "a")["due"]

        leases.beat()

        assert engineer.row(task_id, "a")["due"] > before
        assert not alive.is_set()
        assert dead.is_set()


def test_rule_13_cancelling_a_task_sets_the_tokens_of_its_running_steps(engineer: Engineer) -> None:
    task_id = engineer.start(wait_step("a"))
    leases = Leases(engineer.engine, lease_seconds=15, heartbeat_seconds=60)
    with leases.hold(engineer.take(task_id, "a"), deadline=time.monotonic() + 60) as token:
        cancel.cancel(engineer.engine, tenant=TENANT, task_id=task_id)

        leases.beat()

        assert token.is_set()


def test_rule_13_a_lease_is_not_renewed_past_its_attempts_deadline(engineer: Engineer) -> None:
    task_id = engineer.start(wait_step("a"))
    leases = Leases(engineer.engine, lease_seconds=15, heartbeat_seconds=60)
    claim = engineer.take(task_id, "a", lease_seconds=1)
    before = engineer.row(task_id, "a")["due"]
    with leases.hold(claim, deadline=time.monotonic() - 1) as token:
        leases.beat()

        assert token.is_set()
        assert engineer.row(task_id, "a")["due"] == before


def test_rule_13_a_dead_childs_lease_is_handed_back_at_once_and_counts_a_kill(engineer: Engineer) -> None:
    task_id = engineer.start(wait_step("a"))
    claim = engineer.take(task_id, "a", owner="host:42")

    not_his = requeue.hand_back(engineer.engine, claim.id, task_id=task_id, owner="host:43", died=True)
    row = requeue.hand_back(engineer.engine, claim.id, task_id=task_id, owner="host:42", died=True)

    assert not_his is None
    assert row is not None
    assert row.kills == 1
    assert engineer.take(task_id, "a").attempt == 2


def test_rule_13_no_lease_expires_within_one_lease_of_the_sweepers_start(
    engineer: Engineer, broker: "redis.Redis"
) -> None:
    process.start(app, service="tests")
    sweeper = Sweeper(
        WorkerProcess(
            engineer.settings, engineer.engine, Hints(engineer.settings.redis_url), app, owner="sweeper"
        ),
        broker,
    )
    task_id = engineer.start(wait_step("a"))
    engineer.take(task_id, "a", lease_seconds=0.01)
    wait_until(
        lambda: engineer.ask("SELECT 1 FROM steps WHERE state = 'running' AND due < now()"),
        5,
        "the end of the lease",
    )

    assert sweeper.expire_leases().taken == 0
    assert engineer.row(task_id, "a")["state"] == "running"


def test_rule_14_an_expired_lease_is_queued_again_and_published(
    engineer: Engineer, sweeper: Sweeper, broker: "redis.Redis"
) -> None:
    task_id = engineer.start(wait_step("a"))
    engineer.take(task_id, "a", lease_seconds=0.01)

    wait_until(lambda: sweeper.expire_leases().healed, 5, "the lease to be swept")
    sweeper.publish_due()

    row = engineer.row(task_id, "a")
    assert (row["state"], row["kills"]) == ("queued", 1)
    assert broker.llen("arm.executor\x06\x166") == 1
    assert engineer.events(task_id)[-1].payload["reason"] == "lease_expired"


def test_rows_whose_worker_died_twice_are_published_apart(engineer: Engineer) -> None:
    """Otherwise a step that kills a pool of threads would count as a kill for all steps beside it."""
    steps_of = {engineer.start(wait_step("a")): list[float]() for _ in range(8)}

    for _ in range(2):
        for task_id, delays in steps_of.items():
            engineer.ask("UPDATE steps SET not_before = now() WHERE task_id = %(id)s", id=task_id)
            claim = engineer.take(task_id, "a", lease_seconds=0.001)
            wait_until(
                partial(requeue.expire_lease, engineer.engine, claim.id, task_id=task_id),
                5,
                "the lease to end",
            )
            row = engineer.ask(
                "SELECT extract(epoch FROM due - now())::float8 AS left FROM steps WHERE id = %(id)s",
                id=claim.id,
            )[0]
            delays.append(row["left"])

    first, second = zip(*steps_of.values(), strict=True)
    assert max(first) <= 0
    assert len(set(second)) == 8
    assert max(second) - min(second) > 1
    assert max(second) <= 10


def test_rule_14_a_renewed_lease_is_left_alone(engineer: Engineer, sweeper: Sweeper) -> None:
    task_id = engineer.start(wait_step("a"))
    claim = engineer.take(task_id, "a", lease_seconds=30)

    assert requeue.expire_lease(engineer.engine, claim.id, task_id=task_id) is None
    assert sweeper.expire_leases().taken == 0
    assert engineer.row(task_id, "a")["state"] == "running"


def _make_overdue(engineer: Engineer) -> None:
    engineer.ask(
        """UPDATE steps SET due = now() - interval '1 second', not_before = now() - interval '1 minute'
           WHERE state = 'queued'"""
    )


def test_rule_14_a_lost_message_is_sent_again_however_often(
    engineer: Engineer, sweeper: Sweeper, broker: "redis.Redis"
) -> None:
    task_id = engineer.start(wait_step("a"))
    delays = []
    for _ in range(6):
        broker.delete("arm.executor\x06\x166")
        _make_overdue(engineer)
        assert sweeper.publish_due() == Swept(1, healed=1)
        row = engineer.ask(
            "SELECT extract(epoch FROM due - now())::float8 AS wait FROM steps WHERE name = 'a'"
        )[0]
        delays.append(round(row["wait"] / engineer.settings.redispatch_seconds))

    assert delays == [1] * 6
    assert broker.llen("arm.executor\x06\x166") == 1
    assert engineer.row(task_id, "a")["attempt"] == 0


def test_rule_14_a_message_that_still_waits_is_not_sent_again(
    engineer: Engineer, sweeper: Sweeper, broker: "redis.Redis"
) -> None:
    engineer.start(*(wait_step(f"s{number}") for number in range(5)))
    _make_overdue(engineer)
    sent = sweeper.publish_due()

    _make_overdue(engineer)
    again = sweeper.publish_due()

    assert (sent, again) == (Swept(5, healed=5), Swept())
    assert broker.llen("arm.executor\x06\x166") == 5


def test_rule_14_of_a_queue_as_many_are_sent_again_as_are_missing_the_oldest_first(
    engineer: Engineer, sweeper: Sweeper, broker: "redis.Redis"
) -> None:
    """A worker that died with two messages of a queue that others still fill and empty."""
    names = [f"s{number}" for number in range(5)]
    task_id = engineer.start(*(wait_step(name) for name in names))
    _make_overdue(engineer)
    sweeper.publish_due()
    broker.rpop("arm.executor\x06\x166", 2)
    _make_overdue(engineer)
    engineer.ask("UPDATE steps SET due = due - interval '9 s' WHERE name IN ('s1', 's3')")

    sweeper.publish_due()

    sent = {name: engineer.row(task_id, name)["sends"] for name in names}
    assert sent == {"s0": 2, "s1": 3, "s2": 2, "s3": 3, "s4": 2}
    assert broker.llen("arm.executor\x06\x166") == 5


@pytest.mark.slow
def test_rule_14_overdue_rows_are_sent_while_the_broker_does_not_tell(
    engineer: Engineer, sweeper: Sweeper, broker: "redis.Redis", monkeypatch: pytest.MonkeyPatch
) -> None:
    engineer.start(wait_step("a"))
    with redis.Redis(port=1, socket_connect_timeout=1) as away:
        monkeypatch.setattr(sweeper, "_broker", away)
        for _ in range(2):
            _make_overdue(engineer)
            assert sweeper.publish_due() == Swept(1, healed=1)


def test_a_due_retry_and_a_deadline_do_not_count_as_healing(
    engineer: Engineer, sweeper: Sweeper, broker: "redis.Redis"
) -> None:
    retried, late = engineer.start(wait_step("a")), engineer.start(wait_step("a"))
    claim = engineer.take(retried, "a")
    with transaction(engineer.engine) as conn:
        error = {"code": "tool_failed", "message": "", "retryable": True}
        assert requeue.retry_step(conn, claim, error=error, delay_seconds=0)
    engineer.ask("UPDATE tasks SET deadline_at = now() WHERE id = %(id)s", id=late)

    with structlog.testing.capture_logs() as logged:
        sweeper.tick()

    assert [line for line in logged if line["event"] == "sweep.healed"] == []
    assert broker.llen("arm.executor\x06\x166") == 1
    assert engineer.task(late).status == "failed"


def test_retention_does_not_count_as_healing_nor_files_as_tasks(engineer: Engineer, sweeper: Sweeper) -> None:
    engineer.ask(
        """INSERT INTO artifacts (tenant, sha256, filename, media_type, size_bytes, created_at)
           SELECT 'acme', lpad(n::text, 64, '0'), 'f', 'text/plain', 0, now() - interval '99 days'
           FROM generate_series(1, %(count)s) n""",
        count=BATCH // 2,
    )
    for _ in range(BATCH // 2):
        engineer.submit(wait_step("a"))
    engineer.ask(
        """UPDATE tasks SET status = 'cancelled', phase = 'done', percentage = 100,
           finished_at = now() - interval '99 days'"""
    )

    with structlog.testing.capture_logs() as logged:
        has_more = sweeper.tick()

    assert not has_more
    assert engineer.ask("SELECT 1 FROM tasks UNION ALL SELECT 1 FROM artifacts") == []
    assert [line for line in logged if line["event"] == "sweep.healed"] == []


def test_rule_14_a_full_batch_asks_for_the_next_at_once(engineer: Engineer, sweeper: Sweeper) -> None:
    for _ in range(BATCH // 50 + 1):
        engineer.start(*(wait_step(f"s{number}") for number in range(50)))
    engineer.ask("UPDATE steps SET due = now() WHERE state = 'queued'")

    assert [sweeper.tick(), sweeper.tick()] == [True, False]


def test_rule_14_a_plan_row_that_nobody_claimed_is_sent_again(
    engineer: Engineer, sweeper: Sweeper, broker: "redis.Redis"
) -> None:
    engineer.submit(wait_step("a"))
    engineer.ask("UPDATE steps SET due = now() - interval '1 second'")

    sweeper.publish_due()

    assert broker.llen("planner\x06\x166") == 1


def test_rule_14_an_empty_broker_makes_all_queued_rows_due_at_once(
    engineer: Engineer, sweeper: Sweeper, broker: "redis.Redis"
) -> None:
    engineer.start(wait_step("a"), wait_step("b"))
    assert sweeper.publish_due() == Swept()
    broker.flushall()

    sweeper.tick()

    assert broker.get(EPOCH_KEY) is not None
    assert broker.llen("arm.executor\x06\x166") == 2


def test_rule_14_a_ready_chord_whose_judge_was_not_published_is_fired(
    engineer: Engineer, sweeper: Sweeper, broker: "redis.Redis"
) -> None:
    task_id = engineer.start(wait_step("a"))
    engineer.do(task_id, "a")
    engineer.ask("UPDATE steps SET due = now() - interval '1 second' WHERE kind = 'judge'")

    sweeper.publish_due()

    assert broker.llen("judge\x06\x166") == 1


def test_rule_14_a_step_that_killed_three_workers_is_given_up(engineer: Engineer, sweeper: Sweeper) -> None:
    task_id = engineer.start(wait_step("a"), wait_step("b"))
    for _ in range(3):
        claim = engineer.take(task_id, "a", owner="host:1")
        requeue.hand_back(engineer.engine, claim.id, task_id=task_id, owner="host:1", died=True)
    refused = engineer.claim(task_id, "a")

    sweeper.give_up_poison()

    row = engineer.row(task_id, "a")
    assert refused is None
    assert (row["state"], row["result"]["error"]["code"]) == ("failed", "poison_step")
    assert engineer.chord_of(task_id)["done"] == 1
    assert engineer.states(task_id)["b"] == "queued"


def test_rule_14_a_plan_row_that_kills_its_workers_ends_its_task(
    engineer: Engineer, sweeper: Sweeper
) -> None:
    task_id = engineer.submit(wait_step("a"))
    for _ in range(3):
        claim = engineer.take(task_id, "$plan", owner="host:1")
        requeue.hand_back(engineer.engine, claim.id, task_id=task_id, owner="host:1", died=True)

    sweeper.give_up_poison()

    task = engineer.task(task_id)
    assert (task.status, task.error and task.error["code"]) == ("failed", "poison_step")


def test_rule_14_several_sweepers_send_a_row_once(
    engineer: Engineer, sweeper: Sweeper, broker: "redis.Redis"
) -> None:
    for _ in range(10):
        engineer.start(*(wait_step(f"s{number}") for number in range(5)))
    engineer.ask("UPDATE steps SET due = now() - interval '1 second' WHERE state = 'queued'")
    counts: list[int] = []
    threads = [threading.Thread(target=lambda: counts.append(sweeper.publish_due().taken)) for _ in range(3)]

    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sum(counts) == 50
    assert broker.llen("arm.executor\x06\x166") == 50
