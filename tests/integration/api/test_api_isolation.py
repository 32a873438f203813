"""At every endpoint, another tenant's object gets the same response as one that does not exist."""

from collections.abc import Mapping
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import Engine

from orchestrator.chord.database import statement
from orchestrator.models.ids import new_approval_id, new_schedule_id, new_task_id
from orchestrator.models.verdict import Decision
from tests.integration.api.conftest import AsCaller, Caller
from tests.integration.kit import TENANT, Engineer, verdict, wait_step

UNKNOWN_FILE = "0" * 64
OWN = {"request_id", "timestamp", "instance"}
BODIES: Mapping[str, Any] = {
    "/v1/tasks/<task_id>/cancel": {"reason": "mine now"},
    "/v1/approvals/<approval_id>/decision": {"decision": "reject", "proposal_hash": "0" * 64},
    "/v1/approvals/<approval_id>/link": {"for": "me"},
    "/v1/schedules/<schedule_id>": {"overlap": "allow"},
    "/v1/schedules/<schedule_id>/backfill": {"from": "2026-01-01T00:00:00Z", "to": "2026-01-01T02:00:00Z"},
    "/v1/schedules/<schedule_id>/trigger": {},
}
KINDS = ("task_id", "artifact_id", "approval_id", "key_id", "schedule_id")


@pytest.fixture
def theirs(engineer: Engineer, as_caller: AsCaller) -> dict[str, str]:
    """A task with steps, events and a trace, a file, an approval, a key and a schedule of `engineer`'s tenant."""
    gate = {"ask": "May the other tenant's step run?"}
    task_id = engineer.start(wait_step("a"), wait_step("b", "a"), wait_step("c", approval=gate))
    engineer.do(task_id, "a", output={"summary": "the other tenant's words"})
    file = as_caller(TENANT)("POST", "/v1/files", data=b"the other tenant's bytes", content_type="text/plain")
    [approval] = engineer.ask("SELECT id FROM approvals")
    key = as_caller(TENANT)("POST", "/v1/keys", json={"scopes": ["task:read"]})
    body = {"name": "theirs", "contract": {"goal": "g"}, "cron": "0 * * * *", "tz": "UTC"}
    schedule = as_caller(TENANT)("POST", "/v1/schedules", json=body)
    return {
        "schedule_id": schedule.json["schedule_id"],
        "task_id": task_id,
        "artifact_id": file.json["artifact_id"],
        "approval_id": approval["id"],
        "key_id": key.json["key_id"],
    }


@pytest.fixture
def stranger(as_caller: AsCaller) -> Caller:
    """A caller of another tenant with all scopes."""
    return as_caller("umbrella")


def rules_with_ids(app: Flask) -> list[tuple[str, str]]:
    return [
        (method, rule.rule)
        for rule in app.url_map.iter_rules()
        if rule.arguments & {*KINDS}
        for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"})
    ]


def filled(rule: str, ids: Mapping[str, str]) -> str:
    if rule.endswith("/diff"):
        rule += "?other=<task_id>"
    for kind in KINDS:
        rule = rule.replace(f"<{kind}>", ids[kind])
    return rule.replace("<step_id>", "a")


def ask(call: Caller, method: str, rule: str, ids: Mapping[str, str]) -> tuple[int, dict[str, Any]]:
    """Send the call and return status and body, without the members that differ in any two responses."""
    path = filled(rule, ids)
    answer = call(method, path, json=BODIES.get(rule)) if rule in BODIES else call(method, path)
    body = {name: value for name, value in answer.json.items() if name not in OWN}
    assert ids["task_id"] not in str(body)
    return answer.status_code, body


def test_another_tenant_s_ids_are_unknown_at_every_endpoint(
    app: Flask, stranger: Caller, theirs: dict[str, str], engineer: Engineer
) -> None:
    unknown = {
        "task_id": str(new_task_id()),
        "artifact_id": UNKNOWN_FILE,
        "approval_id": new_approval_id(),
        "key_id": "0" * 12,
        "schedule_id": new_schedule_id(),
    }
    events = len(engineer.events(theirs["task_id"]))
    rules = rules_with_ids(app)

    for method, rule in rules:
        answered, absent = ask(stranger, method, rule, theirs), ask(stranger, method, rule, unknown)

        assert answered == absent, f"{method} {rule}"
        # the WebSocket's path answers any request without an upgrade like this
        assert answered[0] == (426 if rule.endswith("/stream") else 404), f"{method} {rule}"

    assert len(rules) >= 8
    assert engineer.task(theirs["task_id"]).status == "processing"
    assert len(engineer.events(theirs["task_id"])) == events


def test_the_owner_s_ids_are_known_at_every_endpoint(
    app: Flask, as_caller: AsCaller, theirs: dict[str, str]
) -> None:
    """The same calls succeed for the owner, so the test above can fail."""
    owner = as_caller(TENANT)

    # what is deleted is unknown afterwards
    for method, rule in sorted(rules_with_ids(app), key=lambda found: found[0] == "DELETE"):
        path = filled(rule, theirs)
        answer = owner(method, path, json=BODIES.get(rule)) if rule in BODIES else owner(method, path)

        assert answer.status_code != 404, f"{method} {rule}"


def test_no_list_contains_another_tenant_s_objects(
    app: Flask, stranger: Caller, theirs: dict[str, str]
) -> None:
    paths = [
        rule.rule
        for rule in app.url_map.iter_rules()
        if not rule.arguments and rule.rule.startswith("/v1/") and "GET" in (rule.methods or set())
    ]

    for path in [*paths, f"/v1/tasks?cursor={theirs['task_id']}", "/v1/tasks?status=processing"]:
        text = stranger("GET", path).get_data(as_text=True)
        assert not any(value in text for value in [*theirs.values(), "other tenant"]), path
    assert stranger("GET", "/v1/tasks").json["tasks"] == []


def test_another_tenant_s_file_cannot_be_attached(stranger: Caller, theirs: dict[str, str]) -> None:
    answers = [
        stranger("POST", "/v1/tasks", json={"goal": "read it", "attachments": [sha256]})
        for sha256 in (theirs["artifact_id"], UNKNOWN_FILE)
    ]

    messages = [
        answer.json["message"].replace(sha256, "...")
        for answer, sha256 in zip(answers, (theirs["artifact_id"], UNKNOWN_FILE), strict=True)
    ]
    assert [answer.status_code for answer in answers] == [422, 422]
    assert messages[0] == messages[1]


def test_another_tenant_s_idempotency_key_is_free(as_caller: AsCaller, stranger: Caller) -> None:
    first = as_caller(TENANT)("POST", "/v1/tasks", json={"goal": "a"}, headers={"Idempotency-Key": "k"})

    same = stranger("POST", "/v1/tasks", json={"goal": "a"}, headers={"Idempotency-Key": "k"})

    assert same.status_code == 202
    assert same.json["task_id"] != first.json["task_id"]


def test_a_ticket_opens_its_own_task_only(
    as_caller: AsCaller, stranger: Caller, app: Flask, theirs: dict[str, str]
) -> None:
    task_id = stranger("POST", "/v1/tasks", json={"goal": "mine"}).json["task_id"]
    ticket = stranger("POST", f"/v1/tasks/{task_id}/stream-ticket").json["ticket"]

    answer = Caller(app, None)("GET", f"/v1/tasks/{theirs['task_id']}/events?ticket={ticket}")

    assert answer.status_code in {401, 403, 404}
    assert "other tenant" not in answer.get_data(as_text=True)


def test_two_tenants_with_the_same_bytes_have_two_files(
    as_caller: AsCaller, stranger: Caller, engine: Engine
) -> None:
    """Ids are digests, so another tenant can name a file; it gets its own copy with its own filename."""
    names = {"acme": "ours.txt", "umbrella": "theirs.txt"}
    for tenant, name in names.items():
        stored = as_caller(tenant)(
            "POST", f"/v1/files?filename={name}", data=b"same", content_type="text/plain"
        )

    for tenant, name in names.items():
        fetched = as_caller(tenant)("GET", f"/v1/files/{stored.json['artifact_id']}")
        assert name in fetched.headers["Content-Disposition"]
    with statement(engine) as conn:
        assert conn.exec_driver_sql("SELECT count(*) FROM artifacts").scalar_one() == 2


def test_another_tenant_s_result_is_in_no_response(engineer: Engineer, stranger: Caller) -> None:
    task_id = engineer.start(wait_step("a"))
    engineer.do(task_id, "a")
    engineer.judge(task_id, verdict(Decision.PASSED))

    assert stranger("GET", f"/v1/tasks/{task_id}?wait=1").status_code == 404
    assert stranger("DELETE", f"/v1/tasks/{task_id}").status_code == 404
