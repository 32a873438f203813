"""`octollm tenant delete` deletes all rows of a tenant and none of the others."""

import json
from io import StringIO
from typing import Any

import pytest

from orchestrator.chord.chord import Refused
from orchestrator.chord.database import transaction
from orchestrator.cli.exit_status import ExitStatus
from orchestrator.cli.main import main
from orchestrator.memory import files, keys
from orchestrator.models.verdict import Decision
from tests.integration.kit import Engineer, done, verdict, wait_step

DOOMED, KEPT = "doomed", "kept"


def octollm(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    return int(ended.value.code or 0), capsys.readouterr().out


def furnish(engineer: Engineer, tenant: str) -> list[str]:
    """Give a tenant a key, a file, a schedule, an ended task, a running and a queued one; return the tasks."""
    with transaction(engineer.engine) as conn:
        keys.create(conn, tenant=tenant, scopes=["all"], name="", environment="live", expires_at=None)
        files.put(conn, tenant, filename="a", media_type="text/plain", content=tenant.encode())
    ended, running = (engineer.start(wait_step("a"), tenant=tenant) for _ in range(2))
    engineer.do(ended, "a")
    engineer.judge(ended, verdict(Decision.PASSED))
    engineer.ask(
        """WITH made AS (
            INSERT INTO schedules (id, tenant, name, key_id, has_key, contract, every_seconds, anchor_at, overlap,
                catchup_seconds)
            VALUES ('sched_' || left(md5(%(tenant)s), 16), %(tenant)s, 's', 'k', true, '{}', 60, now(), 'skip', 600)
            RETURNING id, tenant
        ), noted AS (
            INSERT INTO schedule_events (schedule_id, tenant, type) SELECT id, tenant, 'schedule.created' FROM made
        )
        INSERT INTO schedule_waiting (schedule_id, tenant, scheduled_at, kind)
        SELECT id, tenant, now(), 'backfill' FROM made RETURNING tenant""",
        tenant=tenant,
    )
    return [ended, running, engineer.submit(wait_step("a"), tenant=tenant)]


def rows_of(engineer: Engineer, tenant: str, task_ids: list[str]) -> dict[str, int]:
    """Return how many rows of each table name the tenant, or one of its tasks."""
    columns = engineer.ask(
        """SELECT c.relname AS name, a.attname AS mark
        FROM pg_class c
        JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname IN ('tenant', 'task_id')
        WHERE c.relkind = 'r' AND c.relnamespace = 'public'::regnamespace
            AND c.relname NOT IN ('api_keys', 'results', 'chord_parts', 'audit_log')"""
    )
    marks: dict[str, Any] = {"tenant": [tenant], "task_id": task_ids}
    found: dict[str, int] = {}
    for column in columns:
        sql = f"SELECT count(*) AS n FROM {column['name']} WHERE {column['mark']} = ANY(%(marks)s)"
        count = engineer.ask(sql, marks=marks[column["mark"]])[0]["n"]
        found[column["name"]] = max(found.get(column["name"], 0), count)
    return found


def test_deleting_a_tenant_deletes_all_its_rows_and_none_of_the_others(
    engineer: Engineer, capsys: pytest.CaptureFixture[str]
) -> None:
    doomed, kept = furnish(engineer, DOOMED), furnish(engineer, KEPT)
    before = rows_of(engineer, KEPT, kept)
    claim = engineer.take(doomed[1], "a")

    status, output = octollm(capsys, "tenant", "delete", DOOMED, "--yes", "--json")

    assert (status, json.loads(output)) == (
        ExitStatus.OK,
        {
            "tenant": DOOMED,
            "keys_revoked": 1,
            "schedules_deleted": 1,
            "tasks_cancelled": 2,
            "tasks_deleted": 3,
            "files_deleted": 1,
            "cache_entries_dropped": 0,
        },
    )
    assert set(rows_of(engineer, DOOMED, doomed).values()) == {0}
    assert rows_of(engineer, KEPT, kept) == before
    chords = engineer.ask("SELECT id FROM chords ORDER BY id")
    assert chords == engineer.ask("SELECT chord_id AS id FROM rounds ORDER BY chord_id")
    revoked = "SELECT tenant, revoked_at IS NOT NULL AS is_revoked FROM api_keys ORDER BY tenant"
    assert engineer.ask(revoked) == [
        {"tenant": DOOMED, "is_revoked": True},
        {"tenant": KEPT, "is_revoked": False},
    ]
    (entry,) = engineer.ask("SELECT action, tenant, outcome FROM audit_log")
    assert entry == {"action": "tenant.delete", "tenant": DOOMED, "outcome": "allowed"}
    with pytest.raises(Refused):
        engineer.store(claim, done())


def test_nothing_is_deleted_without_confirmation(
    engineer: Engineer, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", StringIO("n\n"))
    task_ids = furnish(engineer, DOOMED)
    before = rows_of(engineer, DOOMED, task_ids)

    status, _ = octollm(capsys, "tenant", "delete", DOOMED)

    assert status == ExitStatus.DETACHED
    assert rows_of(engineer, DOOMED, task_ids) == before
    assert octollm(capsys, "tenant", "delete", "nobody", "--yes")[1].startswith("nobody: 0 keys revoked")
