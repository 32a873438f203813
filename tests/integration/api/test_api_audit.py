"""The audit log records who did what, from where and with which outcome; its size is limited."""

import base64
import hashlib
import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import Engine, event
from sqlalchemy.exc import IntegrityError

from api.app import create_app
from api.middleware import audit
from api.middleware.audit_buffer import MAX_HELD, MAX_REFUSED, MAX_REFUSED_BY_SOURCE, AuditBuffer
from api.middleware.context import orchestrator_of
from api.schemas.operation import scope_of
from api.streaming.hub import hub_of
from orchestrator.auth.credential import SCOPES, new_api_key, sign_token
from orchestrator.chord.database import open_engine, statement, transaction
from orchestrator.memory import audit_log, keys
from orchestrator.memory.audit_log import AuditEntry, AuditOutcome
from orchestrator.settings import Settings
from tests.integration.api.conftest import Caller
from tests.integration.api.live_server import serving
from tests.integration.kit import Engineer, wait_step
from tests.waiting import wait_until

ADDRESS = {"environ_base": {"REMOTE_ADDR": "192.0.2.7"}}
SECRET = "s3cr3t-in-a-body"


pytestmark = pytest.mark.usefixtures("empty_audit_log")


@pytest.fixture
def audited(settings: Settings) -> Iterator[Flask]:
    """An app that no other test uses."""
    app = create_app(replace(settings, trusted_proxies=1))
    yield app
    hub_of(app).stop()
    audit.buffer_of(app).close()


def caller(app: Flask, settings: Settings, *scopes: str, tenant: str = "acme") -> Caller:
    return Caller(app, sign_token(settings, tenant=tenant, key_id="k1", scopes=scopes or SCOPES))


def entries(app: Flask, **wanted: Any) -> list[AuditEntry]:
    """Write the buffered entries, and return the log, oldest first."""
    audit.buffer_of(app).flush()
    with statement(orchestrator_of(app).engine) as conn:
        return audit_log.find(conn, **wanted)[::-1]


def test_an_action_is_recorded_with_caller_address_and_object(audited: Flask, settings: Settings) -> None:
    call = caller(audited, settings)
    seen = {"headers": {"X-Request-ID": "r-1", "X-Forwarded-For": "9.9.9.9, 192.0.2.33"}}

    task_id = call("POST", "/v1/tasks", json={"goal": SECRET}, **seen).json["task_id"]
    file_id = call("POST", "/v1/files", data=SECRET.encode(), content_type="text/plain").json["artifact_id"]
    call("GET", f"/v1/files/{file_id}")
    call("POST", f"/v1/tasks/{task_id}/cancel", json={"reason": SECRET})
    call("POST", "/v1/arms/register", json={"arm_id": "coder", "status": "healthy"})
    call("POST", f"/v1/tasks/{task_id}/stream-ticket")
    call("GET", f"/v1/tasks/{task_id}")

    found = entries(audited)
    assert [(entry.action, entry.object) for entry in found] == [
        ("task.submit", task_id),
        ("file.upload", file_id),
        ("file.download", file_id),
        ("task.cancel", task_id),
        ("arm.register", "coder"),
        ("ticket.issue", task_id),
    ]
    first = found[0]
    assert (first.tenant, first.key_id, first.subject) == ("acme", "k1", "acme/k1")
    assert (first.address, first.request_id, first.outcome) == ("192.0.2.33", "r-1", AuditOutcome.ALLOWED)
    assert SECRET not in repr(found)


def test_a_file_in_a_response_s_request_is_recorded_as_an_upload(audited: Flask, settings: Settings) -> None:
    call = caller(audited, settings)
    data = base64.b64encode(SECRET.encode()).decode()
    parts = [{"type": "input_text", "text": "Read it"}, {"type": "input_file", "file_data": data}]
    asked = {"model": "octollm", "input": [{"role": "user", "content": parts}], "background": True}

    # the second is a task of its own, with the same body
    ids = [call("POST", "/v1/responses", json=asked).json["id"] for _ in range(2)]
    refused = call("POST", "/v1/responses", json=asked | {"model": "octollm/none"})

    file_id = hashlib.sha256(SECRET.encode()).hexdigest()
    found = entries(audited)
    assert refused.status_code == 400
    assert [(entry.action, entry.object, entry.outcome.value) for entry in found] == [
        ("file.upload", file_id, "allowed"),
        ("task.submit", ids[0], "allowed"),
        ("file.upload", file_id, "allowed"),
        ("task.submit", ids[1], "allowed"),
        ("file.upload", file_id, "allowed"),
        ("task.submit", None, "failed"),
    ]
    assert SECRET not in repr(found)


def test_a_refusal_is_recorded_with_its_reason(audited: Flask, settings: Settings, engine: Engine) -> None:
    reader, stranger = caller(audited, settings, "task:read"), caller(audited, settings, tenant="umbrella")
    task_id = caller(audited, settings)("POST", "/v1/tasks", json={"goal": "mine"}).json["task_id"]
    guess = new_api_key()

    reader("POST", "/v1/tasks", json={"goal": "x"})
    stranger("POST", f"/v1/tasks/{task_id}/cancel")
    Caller(audited, "x.y.z")("GET", "/v1/tasks", headers={"X-Forwarded-For": "192.0.2.8"})
    Caller(audited, None)("POST", "/v1/auth/token", headers={"X-API-Key": guess.text})
    caller(audited, settings)("POST", "/v1/tasks", json={"goal": ""})

    found = entries(audited)[1:]
    assert [(entry.action, entry.outcome.value, entry.reason) for entry in found] == [
        ("task.submit", "denied", "insufficient_permissions:task:submit"),
        ("task.cancel", "denied", "resource_not_found"),
        ("call", "denied", "invalid_credential:invalid"),
        ("token.issue", "denied", "invalid_credential:key"),
        ("task.submit", "failed", "validation_error"),
    ]
    assert [(entry.tenant, entry.key_id) for entry in found[:4]] == [
        ("acme", "k1"),
        ("umbrella", "k1"),
        (None, None),
        (None, guess.id),
    ]
    assert (found[1].object, found[2].object, found[2].address) == (
        task_id,
        "GET /v1/tasks",
        "192.0.2.8",
    )
    assert guess.secret not in repr(found)


def test_key_exchanges_and_their_refusals_name_the_key(audited: Flask, engine: Engine) -> None:
    with transaction(engine) as conn:
        record, text = keys.create(conn, tenant="acme", scopes=["all"])
    anonymous = Caller(audited, None)

    anonymous("POST", "/v1/auth/token", headers={"X-API-Key": text})
    with transaction(engine) as conn:
        keys.revoke(conn, record.id)
    anonymous("POST", "/v1/auth/token", headers={"X-API-Key": text})

    assert [(entry.key_id, entry.tenant, entry.outcome.value) for entry in entries(audited)] == [
        (record.id, "acme", "allowed"),
        (record.id, None, "denied"),
    ]


def test_many_refusals_leave_few_entries_and_a_count(audited: Flask, settings: Settings) -> None:
    flood, calls = Caller(audited, "x.y.z"), 3 * MAX_REFUSED_BY_SOURCE

    for _ in range(calls):
        flood("GET", "/v1/tasks", **ADDRESS)
    Caller(audited, "x.y.z")("GET", "/v1/tasks", headers={"X-Forwarded-For": "192.0.2.9"})
    caller(audited, settings)("POST", "/v1/tasks", json={"goal": "work goes on"})
    # its thread may have written a first count already; `close` writes the rest
    audit.buffer_of(audited).close()

    found = entries(audited)
    kept = [entry for entry in found if entry.action == "call"]
    left_out = sum(entry.times for entry in found if entry.action == "audit.left_out")
    assert len(kept) + left_out == calls + 1
    assert len(kept) == MAX_REFUSED_BY_SOURCE + 1
    assert kept[-1].address == "192.0.2.9"
    assert "task.submit" in {entry.action for entry in found}


def test_refusals_of_all_addresses_are_limited_together(engine: Engine, postgres_url: str) -> None:
    buffer = AuditBuffer(open_engine(postgres_url, pool_size=1))

    for number in range(5 * MAX_REFUSED):
        buffer.add(AuditEntry(action="call", outcome=AuditOutcome.DENIED), source=str(number))
    buffer.close()

    with statement(engine) as conn:
        kept = audit_log.find(conn, action="call", limit=1000)
        (left_out,) = audit_log.find(conn, action="audit")
    assert len(kept) == MAX_REFUSED
    assert len(kept) + left_out.times == 5 * MAX_REFUSED


def test_while_the_database_is_away_entries_are_held_up_to_a_limit(
    settings: Settings, engine: Engine, postgres_url: str
) -> None:
    away = AuditBuffer(open_engine("postgresql+psycopg2://u:p@127.0.0.1:1/d", pool_size=1))
    entry = AuditEntry(action="task.submit", outcome=AuditOutcome.ALLOWED)

    for _ in range(MAX_HELD + 7):
        away.add(entry, source="s")
    wait_until(lambda: away.health()["state"] == "failing", 10, "a failed attempt")
    away._engine = open_engine(postgres_url, pool_size=1)
    away.close()

    with statement(engine) as conn:
        kept = audit_log.find(conn, action="task.submit", limit=MAX_HELD + 100)
        (left_out,) = audit_log.find(conn, action="audit")
    assert (len(kept), left_out.times) == (MAX_HELD, 7)


def test_an_entry_that_the_database_refuses_does_not_block_the_others(
    engine: Engine, postgres_url: str
) -> None:
    buffer = AuditBuffer(open_engine(postgres_url, pool_size=1))
    buffer.add(AuditEntry(action="task.submit", outcome=AuditOutcome.ALLOWED, times=0), source="s")

    with pytest.raises(IntegrityError):
        buffer.flush()
    buffer.add(AuditEntry(action="task.cancel", outcome=AuditOutcome.ALLOWED), source="s")
    buffer.close()

    with statement(engine) as conn:
        found = [(entry.action, entry.times) for entry in audit_log.find(conn)]
    assert found == [("audit.left_out", 1), ("task.cancel", 1)]


def test_a_submission_runs_no_audit_query(audited: Flask, settings: Settings) -> None:
    call = caller(audited, settings)
    call("POST", "/v1/tasks", json={"goal": "warm up"})
    sent: list[str] = []
    event.listen(
        orchestrator_of(audited).engine,
        "before_cursor_execute",
        lambda _conn, _cursor, statement, *_: sent.append(statement),
    )

    call("POST", "/v1/tasks", json={"goal": "go"})

    assert not [text for text in sent if "audit_log" in text]


def test_a_cancel_over_a_websocket_is_recorded(settings: Settings, engineer: Engineer) -> None:
    task_id = engineer.start(wait_step("a"))

    with serving(settings) as api:
        with api.open(task_id, "?after=4") as stream:
            stream.say({"type": "cancel"})
            stream.rest(timeout=10)
        with api.open(task_id, "?after=4", token=api.token(scopes=("task:read",))) as stream:
            pass
        found = entries(api.app, action="task.cancel")
        audit.buffer_of(api.app).close()

    assert [(entry.object, entry.outcome, entry.tenant) for entry in found] == [
        (task_id, AuditOutcome.ALLOWED, "acme")
    ]


def test_every_view_that_changes_something_has_an_audit_action(app: Flask) -> None:
    changing = {
        rule.endpoint
        for rule in app.url_map.iter_rules()
        if (rule.methods or set()) & {"POST", "PUT", "PATCH", "DELETE"}
    }
    with app.app_context():
        unnamed = [endpoint for endpoint in changing if audit.action_of(endpoint) is None]
        download = audit.action_of("files.fetch")

    assert changing
    assert unnamed == []
    assert download == "file.download"
    assert scope_of(app.view_functions["files.fetch"]) is not None


def test_only_ids_of_ours_are_recorded_as_objects(audited: Flask, settings: Settings) -> None:
    caller(audited, settings)("DELETE", f"/v1/tasks/{SECRET}")
    caller(audited, settings)("GET", f"/v1/files/{SECRET}")

    found = entries(audited)
    assert [entry.object for entry in found] == [None, None]
    assert SECRET not in json.dumps([repr(entry) for entry in found])


def test_an_options_request_is_not_recorded(audited: Flask) -> None:
    answer = Caller(audited, None)("OPTIONS", "/v1/tasks")

    assert answer.status_code == 200
    assert entries(audited) == []


def test_a_call_without_a_credential_is_never_recorded_as_allowed(audited: Flask) -> None:
    """Only refusals are limited, so any other entry must need a valid credential."""
    anonymous = Caller(audited, None)

    for rule in audited.url_map.iter_rules():
        path = "/" + "/".join("x" if part.startswith("<") else part for part in rule.rule.split("/") if part)
        for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"):
            anonymous(method, path)

    assert {entry.outcome for entry in entries(audited, limit=1000)} == {AuditOutcome.DENIED}
