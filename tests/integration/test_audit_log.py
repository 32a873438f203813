"""The audit log is append-only; expired entries are deleted, and operators' own actions are recorded."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from click.testing import CliRunner
from sqlalchemy import Engine
from sqlalchemy.exc import ProgrammingError

from orchestrator.chord.database import statement
from orchestrator.cli.main import octollm
from orchestrator.memory import audit_log
from orchestrator.memory.audit_log import AuditEntry, AuditOutcome
from orchestrator.memory.tenancy import tenant_statement

Run = Callable[..., tuple[int, str]]


pytestmark = pytest.mark.usefixtures("empty_audit_log")


@pytest.fixture
def run(engine: Engine, redis_url: str) -> Run:
    """Run `octollm` and return its status and what it printed on stdout."""

    def command(*arguments: str) -> tuple[int, str]:
        result = CliRunner().invoke(octollm, list(arguments))
        return result.exit_code, result.stdout

    return command


def add(engine: Engine, *entries: AuditEntry) -> None:
    with statement(engine) as conn:
        audit_log.append(conn, entries)


def entry(action: str = "task.submit", *, days: float = 0, **members: Any) -> AuditEntry:
    moment = datetime.now(UTC) - timedelta(days=days)
    return AuditEntry(**{"action": action, "outcome": AuditOutcome.ALLOWED, "occurred_at": moment, **members})


def count(engine: Engine) -> int:
    with statement(engine) as conn:
        return len(audit_log.find(conn))


@pytest.mark.parametrize(
    "attempt",
    [
        "UPDATE audit_log SET outcome = 'denied'",
        "DELETE FROM audit_log",
        "DELETE FROM audit_log WHERE occurred_at < now() - interval '3 days'",
        "TRUNCATE audit_log",
    ],
)
def test_no_entry_can_be_changed_or_deleted(engine: Engine, attempt: str) -> None:
    add(engine, entry(), entry(days=6))

    with pytest.raises(ProgrammingError, match="only added to"), statement(engine) as conn:
        conn.exec_driver_sql(attempt)

    assert count(engine) == 2


def test_an_old_entry_can_not_be_changed_either(engine: Engine) -> None:
    add(engine, entry(days=400))

    with pytest.raises(ProgrammingError, match="only added to"), statement(engine) as conn:
        conn.exec_driver_sql("UPDATE audit_log SET tenant = 'nobody'")


def test_expired_entries_are_deleted_in_batches_and_others_kept(engine: Engine) -> None:
    add(engine, *(entry(days=100) for _ in range(3)), entry(days=80), entry())

    with statement(engine) as conn:
        forgotten = [audit_log.forget(conn, days=90, limit=2) for _ in range(3)]

    assert forgotten == [2, 1, 0]
    assert count(engine) == 2


def test_a_retention_shorter_than_a_week_deletes_nothing_younger(engine: Engine) -> None:
    add(engine, entry(days=6))

    with pytest.raises(ProgrammingError, match="only added to"), statement(engine) as conn:
        audit_log.forget(conn, days=1, limit=10)


def test_a_statement_on_behalf_of_a_tenant_sees_its_own_entries_and_writes_none(engine: Engine) -> None:
    add(engine, entry(tenant="acme"), entry("key.create", tenant="umbrella"), entry("call", tenant=None))

    with tenant_statement(engine, "acme") as conn:
        assert [item.action for item in audit_log.find(conn)] == ["task.submit"]
    with pytest.raises(ProgrammingError, match="permission denied"), tenant_statement(engine, "acme") as conn:
        audit_log.append(conn, [entry(tenant="acme")])


def test_entries_are_found_by_tenant_action_outcome_and_time(engine: Engine) -> None:
    denied: dict[str, Any] = {"outcome": AuditOutcome.DENIED, "reason": "insufficient_permissions"}
    add(
        engine,
        entry(tenant="acme", days=3),
        entry(tenant="acme", **denied),
        entry("task.cancel", tenant="umbrella"),
        entry("tasks", tenant="acme"),
    )

    def found(**wanted: Any) -> list[str]:
        with statement(engine) as conn:
            return [item.action for item in audit_log.find(conn, **wanted)]

    assert found() == ["tasks", "task.cancel", "task.submit", "task.submit"]
    assert found(tenant="acme", action="task") == ["task.submit"] * 2
    assert found(outcome=AuditOutcome.DENIED) == ["task.submit"]
    assert found(since=datetime.now(UTC) - timedelta(days=1), tenant="acme") == ["tasks", "task.submit"]
    assert found(limit=1) == ["tasks"]


def test_any_text_can_be_kept(engine: Engine) -> None:
    odd = "a\0b\ud800'; DROP TABLE audit_log; -- %s"

    add(engine, entry(subject=odd))

    with statement(engine) as conn:
        (kept,) = audit_log.find(conn)
    assert kept.subject == "a\ufffdb\ufffd'; DROP TABLE audit_log; -- %s"


def test_operators_actions_on_keys_are_recorded_without_the_secret(run: Run) -> None:
    made = json.loads(run("keys", "create", "--tenant", "acme", "--json")[1])
    run("keys", "rotate", made["id"])
    run("keys", "revoke", made["id"])
    run("keys", "revoke", made["key"])
    run("keys", "webhook-secret", "--tenant", "acme")
    run("token", "--tenant", "acme")

    status, told = run("audit", "--json")
    entries = json.loads(told)[::-1]
    assert status == 0
    assert [(item["action"], item["object"], item["outcome"]) for item in entries] == [
        ("key.create", made["id"], "allowed"),
        ("key.rotate", made["id"], "allowed"),
        ("key.revoke", made["id"], "allowed"),
        ("key.revoke", None, "failed"),
        ("webhook.secret", None, "allowed"),
        ("token.issue", None, "allowed"),
    ]
    assert all(item["subject"].startswith("operator:") for item in entries)
    assert all(item["address"].startswith("host:") for item in entries)
    assert {item["tenant"] for item in entries} == {"acme", None}
    assert made["key"] not in told


def test_operators_can_list_and_filter_entries(run: Run, engine: Engine) -> None:
    add(engine, entry(tenant="acme", subject="acme/k1", address="192.0.2.7"), entry("key.create", days=2))

    lines = run("audit", "--since", "24h")[1].splitlines()

    assert len(lines) == 1
    assert "task.submit" in lines[0]
    assert "acme/k1" in lines[0]
    assert run("audit", "--action", "key")[1].count("\n") == 1
    assert run("audit", "--tenant", "umbrella") == (0, "")
    assert run("audit", "--since", "yesterday")[0] == 2
    assert run("audit", "--since", datetime.now(UTC).isoformat()) == (0, "")
