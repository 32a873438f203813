"""Tasks and files older than RETENTION_DAYS are deleted with everything that belongs to them, and nothing else."""

from dataclasses import replace

import pytest

from orchestrator.chord.database import transaction
from orchestrator.memory import files, retention
from orchestrator.models.errors import InvalidOperation
from orchestrator.models.step_result import FILES
from orchestrator.models.verdict import Decision
from tests.integration.kit import TENANT, Engineer, done, verdict, wait_step

TABLES = ("tasks", "rounds", "steps", "events", "traces", "chords", "chord_parts", "results")


def test_an_old_task_is_deleted_with_its_rows_and_a_new_one_is_kept(engineer: Engineer) -> None:
    old, new = _ended(engineer), _ended(engineer)
    before = {table: _count(engineer, table) for table in TABLES}
    engineer.ask("UPDATE tasks SET finished_at = now() - interval '31 days' WHERE id = %(id)s", id=old)

    with transaction(engineer.engine) as conn:
        forgotten = retention.forget_tasks(conn, days=30, limit=10)

    assert forgotten == 1
    assert engineer.task(new).status == "completed"
    assert {table: _count(engineer, table) for table in TABLES} == {
        table: count // 2 for table, count in before.items()
    }


def test_an_open_task_is_kept_at_any_age(engineer: Engineer) -> None:
    task_id = engineer.start(wait_step("a"))
    engineer.ask("UPDATE tasks SET created_at = now() - interval '99 days' WHERE id = %(id)s", id=task_id)

    with transaction(engineer.engine) as conn:
        assert retention.forget_tasks(conn, days=30, limit=10) == 0


def test_an_old_file_is_kept_while_a_task_refers_to_it(engineer: Engineer) -> None:
    with transaction(engineer.engine) as conn:
        needed, idle = (
            files.put(conn, TENANT, filename="f", media_type="text/plain", content=content).sha256
            for content in (b"needed", b"idle")
        )
    engineer.submit(wait_step("a"), attachments=(needed,))
    engineer.ask("UPDATE artifacts SET created_at = now() - interval '31 days'")

    with transaction(engineer.engine) as conn:
        forgotten = retention.forget_artifacts(conn, days=30, limit=10)
        left = [item.sha256 for item in files.describe(conn, TENANT, [needed, idle])]

    assert (forgotten, left) == (1, [needed])


def test_an_old_file_is_kept_while_a_stored_task_has_a_step_that_saved_it(engineer: Engineer) -> None:
    with transaction(engineer.engine) as conn:
        saved = files.put(conn, TENANT, filename="f", media_type="text/plain", content=b"saved").sha256
    task_id = engineer.start(wait_step("a"))
    engineer.store(engineer.take(task_id, "a"), replace(done({}), provenance={FILES: [saved]}))
    engineer.ask("UPDATE artifacts SET created_at = now() - interval '31 days'")

    with transaction(engineer.engine) as conn:
        kept = retention.forget_artifacts(conn, days=30, limit=10)
    with pytest.raises(InvalidOperation, match=task_id), transaction(engineer.engine) as conn:
        files.delete(conn, TENANT, saved)
    engineer.judge(task_id, verdict(Decision.PASSED))
    engineer.ask("UPDATE tasks SET finished_at = now() - interval '31 days'")
    with transaction(engineer.engine) as conn:
        retention.forget_tasks(conn, days=30, limit=10)
        forgotten = retention.forget_artifacts(conn, days=30, limit=10)

    assert (kept, forgotten) == (0, 1)


def test_a_file_that_is_stored_again_counts_as_new(engineer: Engineer) -> None:
    """A step that makes the same file as one of last month must not lose it before its own end."""
    with transaction(engineer.engine) as conn:
        files.put(conn, TENANT, filename="f", media_type="text/plain", content=b"same")
    engineer.ask("UPDATE artifacts SET created_at = now() - interval '31 days'")

    with transaction(engineer.engine) as conn:
        files.put(conn, TENANT, filename="g", media_type="text/plain", content=b"same")
        forgotten = retention.forget_artifacts(conn, days=30, limit=10)

    assert forgotten == 0


def test_a_batch_is_no_larger_than_its_limit(engineer: Engineer) -> None:
    for _ in range(3):
        _ended(engineer)
    engineer.ask("UPDATE tasks SET finished_at = now() - interval '31 days'")

    with transaction(engineer.engine) as conn:
        counts = [retention.forget_tasks(conn, days=30, limit=2) for _ in range(3)]

    assert counts == [2, 1, 0]


def _ended(engineer: Engineer) -> str:
    task_id = engineer.start(wait_step("a"), wait_step("b", "a"))
    for name in ("a", "b"):
        engineer.do(task_id, name)
        engineer.ask(
            "INSERT INTO results (task_id, status) VALUES (%(id)s, 'SUCCESS')",
            id=engineer.row(task_id, name)["id"],
        )
    engineer.judge(task_id, verdict(Decision.PASSED))
    return task_id


def _count(engineer: Engineer, table: str) -> int:
    return int(engineer.ask(f"SELECT count(*) AS found FROM {table}")[0]["found"])
