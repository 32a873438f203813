"""Admins read their own tenant's audit entries over HTTP, in pages that read a limited number of rows."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine

from orchestrator.chord.database import statement
from orchestrator.memory import audit_log
from orchestrator.memory.audit_log import AuditEntry, AuditOutcome
from tests.integration.api.assertions import assert_problem
from tests.integration.api.conftest import AsCaller, Caller

START = datetime(2026, 11, 1, tzinfo=UTC)

pytestmark = pytest.mark.usefixtures("empty_audit_log")


@pytest.fixture
def log(engine: Engine) -> None:
    """Five entries of acme, a minute apart, one of another tenant and one of nobody, written in another order."""
    entries = [
        entry(0, "task.submit", object="task_0000000000000000"),
        entry(1, "key.create", key_id="k2"),
        entry(2, "task.cancel", outcome=AuditOutcome.DENIED, reason="resource_not_found"),
        entry(3, "task.submit", outcome=AuditOutcome.FAILED, reason="validation_error"),
        entry(4, "tasks_of_others", key_id="k2"),
        entry(2, "task.submit", tenant="umbrella"),
        entry(2, "call", tenant=None, outcome=AuditOutcome.DENIED),
    ]
    with statement(engine) as conn:
        audit_log.append(conn, entries[::-1])


def entry(minute: int, action: str, **members: Any) -> AuditEntry:
    moment = START + timedelta(minutes=minute)
    return AuditEntry(
        **{
            "action": action,
            "outcome": AuditOutcome.ALLOWED,
            "tenant": "acme",
            "key_id": "k1",
            "occurred_at": moment,
            **members,
        }
    )


def minutes(call: Caller, **query: Any) -> list[int]:
    """Return the minutes of the entries of all pages, read with a page size of 2."""
    found: list[int] = []
    cursor: dict[str, str] = {}
    while True:
        answer = call("GET", "/v1/audit-log", query_string={"limit": 2, **query, **cursor})
        assert answer.status_code == 200, answer.json
        found += [datetime.fromisoformat(one["occurred_at"]).minute for one in answer.json["entries"]]
        if answer.json["next_cursor"] is None:
            return found
        cursor = {"cursor": answer.json["next_cursor"]}


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        ({}, [4, 3, 2, 1, 0]),
        ({"action": "task.submit"}, [3, 0]),
        ({"action": "task"}, [3, 2, 0]),
        ({"outcome": "denied,failed"}, [3, 2]),
        ({"key": "k2"}, [4, 1]),
        ({"from": "2026-11-01T00:01:00Z", "to": "2026-11-01T00:03:00Z"}, [2, 1]),
        ({"action": "key", "outcome": "denied"}, []),
    ],
)
def test_what_fits_is_listed_once_newest_first(
    call: Caller, log: None, query: dict[str, str], wanted: list[int]
) -> None:
    assert minutes(call, **query) == wanted


def test_an_entry_says_who_did_what_and_why_it_was_refused(call: Caller, log: None) -> None:
    [refused] = call("GET", "/v1/audit-log?outcome=denied").json["entries"]

    assert (refused["action"], refused["reason"], refused["key_id"]) == (
        "task.cancel",
        "resource_not_found",
        "k1",
    )
    assert (refused["outcome"], refused["times"], refused["object"]) == ("denied", 1, None)
    assert "tenant" not in refused


def test_a_page_says_how_far_back_it_looked(call: Caller, log: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit_log, "MAX_SEEN", 2)

    page = call("GET", "/v1/audit-log?action=key").json

    assert page["entries"] == []
    assert page["seen_back_to"] == "2026-11-01T00:03:00.000Z"
    assert minutes(call, action="key") == [1]


def test_another_tenant_and_every_scope_but_admin_see_nothing(as_caller: AsCaller, log: None) -> None:
    assert minutes(as_caller("umbrella")) == [2]
    assert minutes(as_caller("nobody")) == []
    assert_problem(
        as_caller(scopes=("task:read", "arm:admin"))("GET", "/v1/audit-log"), 403, "insufficient_permissions"
    )


@pytest.mark.parametrize(
    "query",
    [
        {"action": "task; DROP"},
        {"action": "\u0000"},
        {"outcome": "maybe"},
        {"key": "a\u0000"},
        {"key": ""},
        {"from": "then"},
        {"cursor": "1"},
        {"cursor": "1~" + "9" * 30},
        {"limit": "0"},
    ],
)
def test_an_invalid_query_is_refused(call: Caller, query: dict[str, str]) -> None:
    assert_problem(call("GET", "/v1/audit-log", query_string=query), 422, "validation_error")
