"""SQL statements change a row's state only as orchestrator.models.execution_state allows."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from orchestrator.chord.database import transaction
from orchestrator.lifecycle import cancel, requeue
from orchestrator.models.execution_state import LEGAL_MOVES, StepState
from orchestrator.models.verdict import Decision
from tests.integration.kit import TENANT, Engineer, verdict, wait_step
from tests.waiting import wait_until

_WATCH = """
CREATE TABLE moves (former text, latter text);
CREATE FUNCTION note_move() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS
$$ BEGIN INSERT INTO public.moves VALUES (OLD.state, NEW.state); RETURN NULL; END $$;
CREATE TRIGGER note_move AFTER UPDATE OF state ON steps FOR EACH ROW
    WHEN (OLD.state <> NEW.state) EXECUTE FUNCTION note_move();
"""


@pytest.fixture
def watched(engineer: Engineer) -> Iterator[Engineer]:
    """An engineer in whose database a trigger records every change of a row's state."""
    engineer.ask(_WATCH)
    yield engineer
    engineer.ask("DROP TRIGGER note_move ON steps; DROP FUNCTION note_move; DROP TABLE moves")


def test_every_move_of_a_row_is_a_legal_one(watched: Engineer) -> None:
    _retry_expire_fail_and_repair(watched)
    _cancel_in_every_state(watched)

    moves = {(row["former"], row["latter"]) for row in watched.ask("SELECT * FROM moves")}

    assert [move for move in sorted(moves) if move[1] not in LEGAL_MOVES[StepState(move[0])]] == []
    assert {
        ("queued", "running"), ("running", "queued"), ("running", "done"), ("running", "failed"), ("held", "queued"),
        ("blocked", "skipped"), ("blocked", "cancelled"), ("held", "cancelled"), ("queued", "cancelled"),
        ("running", "cancelled"),
    } <= moves  # fmt: skip


def _retry_expire_fail_and_repair(engineer: Engineer) -> None:
    task_id = engineer.start(
        wait_step("a", repair_inputs={"seconds": 1}), wait_step("b"), wait_step("c", "b")
    )
    claim = engineer.take(task_id, "a")
    with transaction(engineer.engine) as conn:
        requeue.retry_step(conn, claim, error={"code": "x", "message": "y"}, delay_seconds=0)
    late = engineer.take(task_id, "a", lease_seconds=0.01)
    wait_until(
        lambda: requeue.expire_lease(engineer.engine, late.id, task_id=task_id), 5, "the lease to expire"
    )
    engineer.do(task_id, "a")
    engineer.fail(task_id, "b")
    engineer.judge(task_id, verdict(Decision.FAILED, a="again"))


def _cancel_in_every_state(engineer: Engineer) -> None:
    engineer.settings = replace(engineer.settings, max_parallel_arms=2)
    task_id = engineer.start(
        wait_step("run"), wait_step("queued"), wait_step("held"), wait_step("after", "run")
    )
    engineer.take(task_id, "run")
    cancel.cancel(engineer.engine, tenant=TENANT, task_id=task_id)
    second = engineer.start(wait_step("one"), wait_step("two"), wait_step("three"))
    engineer.do(second, "one")
