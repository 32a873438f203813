"""ENGINE.md, rules 19 and 20: one lock order, one clock."""

import ast
import threading
from datetime import timedelta
from pathlib import Path

import pytest

import orchestrator
from orchestrator import conclusion
from orchestrator.chord import chord
from orchestrator.chord.chord import Refused
from orchestrator.chord.database import transaction
from orchestrator.lifecycle import cancel
from orchestrator.memory import tasks
from orchestrator.models.verdict import Decision
from tests.integration.kit import TENANT, Engineer, done, verdict, wait_step
from tests.waiting import wait_until
from workers.runtime.heartbeat import Leases


def test_rule_19_completions_cancels_and_heartbeats_do_not_deadlock(engineer: Engineer) -> None:
    names = [f"s{number}" for number in range(8)]
    for _ in range(5):
        task_id = engineer.start(*map(wait_step, names), wait_step("last", *names))
        claims = [engineer.take(task_id, name) for name in names]
        leases = Leases(engineer.engine, lease_seconds=15, heartbeat_seconds=60)
        errors: list[BaseException] = []

        def guarded(work: object, *, into: list[BaseException] = errors) -> None:
            try:
                work()  # type: ignore[operator]  # a callable of the list below
            except Refused:
                pass
            except BaseException as error:
                into.append(error)

        works = [
            *(lambda claim=claim: engineer.store(claim, done()) for claim in claims),
            *([leases.beat] * 3),
            lambda task_id=task_id: cancel.cancel(engineer.engine, tenant=TENANT, task_id=task_id),
        ]
        threads = [threading.Thread(target=guarded, args=(work,)) for work in works]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert errors == []
        assert engineer.task(task_id).status == "cancelled"


def test_rule_19_cancel_starts_again_when_a_new_round_was_saved_meanwhile(engineer: Engineer) -> None:
    task_id = engineer.start(wait_step("a", repair_inputs={"seconds": 1}))
    engineer.do(task_id, "a")
    judge = engineer.take(task_id, "$judge")
    old = engineer.chord_of(task_id)["id"]
    canceller = threading.Thread(
        target=lambda: cancel.cancel(engineer.engine, tenant=TENANT, task_id=task_id), daemon=True
    )
    with transaction(engineer.engine) as conn:
        chord.lock(conn, old)
        tasks.lock_task(conn, task_id)
        canceller.start()
        wait_until(lambda: engineer.ask("SELECT 1 FROM pg_locks WHERE NOT granted"), 5, "the cancel to wait")
        saved = conclusion.conclude(conn, judge, verdict(Decision.FAILED, a="x"), settings=engineer.settings)
        chord.open(conn, saved.chord_id, body=b"{}", size=1)  # type: ignore[union-attr]  # a repair is a round
    canceller.join(timeout=10)

    assert engineer.task(task_id).status == "cancelled"
    assert engineer.chord_of(task_id, round_number=2)["state"] == "closed"
    assert engineer.row(task_id, "a")["state"] == "cancelled"


@pytest.mark.parametrize(
    ("name", "lock"),
    [
        ("$plan", "SELECT FROM tasks WHERE id = %(id)s FOR UPDATE"),
        ("a", "UPDATE steps SET sends = sends + 1 WHERE task_id = %(id)s AND name = 'a'"),
    ],
)
def test_rule_20_a_claim_that_waited_for_its_lock_gets_a_full_lease(
    engineer: Engineer, name: str, lock: str
) -> None:
    task_id = engineer.submit(wait_step("a")) if name == "$plan" else engineer.start(wait_step("a"))
    claimant = threading.Thread(target=lambda: engineer.take(task_id, name, lease_seconds=30), daemon=True)
    with transaction(engineer.engine) as conn:
        conn.exec_driver_sql(lock, {"id": task_id})
        claimant.start()
        waiting = wait_until(
            lambda: engineer.ask("SELECT clock_timestamp() AS at FROM pg_locks WHERE NOT granted"),
            5,
            "a claim",
        )
    claimant.join(timeout=10)

    row = engineer.row(task_id, name)
    assert row["due"] - timedelta(seconds=30) > waiting[0]["at"] > row["started_at"]


def test_rule_20_only_postgres_clock_is_compared_between_processes() -> None:
    package = Path(orchestrator.__file__).parent
    calls = [
        f"{path.relative_to(package)}:{node.lineno}"
        for folder in ("memory", "lifecycle", "queue")
        for path in (package / folder).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and node.attr in {"now", "utcnow", "today"}
    ]

    assert calls == []
