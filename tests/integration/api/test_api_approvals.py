"""Approvals over HTTP: who sees them, who may decide, which decision counts, and what each refusal says."""

import threading
from dataclasses import replace
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import Engine

from api.app import create_app
from api.streaming.hub import hub_of
from orchestrator.auth.credential import SCOPES, sign_token
from orchestrator.lifecycle.decision_check import MAX_VALUE_BYTES
from orchestrator.models.ids import new_approval_id
from orchestrator.settings import Settings
from tests.integration.api.assertions import assert_problem, assert_time
from tests.integration.api.conftest import AsCaller, Caller
from tests.integration.kit import TENANT, Engineer, wait_step

GATE: dict[str, Any] = {"ask": "Wait a little?", "by": "the desk"}
WRONG_BODIES: list[tuple[dict[str, Any], str]] = [
    ({}, "decision"),
    ({"decision": "approve", "proposal_hash": None}, "proposal_hash"),
    ({"decision": "approve", "proposal_hash": "0" * 64}, "proposal_hash"),
    ({"decision": "approve", "proposal_hash": "0" * 63}, "proposal_hash"),
    ({"decision": "approve", "proposal_hash": "0" * 64 + "\n"}, "proposal_hash"),
    ({"decision": "APPROVE"}, "decision"),
    ({"decision": ["approve"]}, "decision"),
    ({"decision": {}}, "decision"),
    ({"decision": 1}, "decision"),
    ({"decision": "edit"}, "inputs"),
    ({"decision": "edit", "inputs": []}, "inputs"),
    ({"decision": "edit", "inputs": None}, "inputs"),
    ({"decision": "edit", "inputs": {"x": "y" * MAX_VALUE_BYTES}}, "inputs"),
    ({"decision": "approve", "inputs": {}}, "inputs"),
    ({"decision": "reject", "answer": 1}, "answer"),
    ({"decision": "answer"}, "answer"),
    ({"decision": "accept"}, "answer"),
    ({"decision": "run_again", "answer": 1}, "answer"),
    ({"decision": "approve", "comment": "x" * 2_001}, "comment"),
    ({"decision": "approve", "comment": ["x"]}, "comment"),
    ({"decision": "approve", "via": "link"}, "via"),
    ({"decision": "approve", "decided_by": "somebody else"}, "decided_by"),
    ({"decision": "approve", "approved": True}, "approved"),
]


@pytest.fixture
def asked(engineer: Engineer, call: Caller) -> dict[str, Any]:
    """A pending approval, as the API shows it."""
    return ask(engineer, call)


def ask(engineer: Engineer, call: Caller, **gate: Any) -> dict[str, Any]:
    """Start a task whose only step waits for approval; return the approval."""
    task_id = engineer.start(wait_step("a", approval={**GATE, **gate}))
    [approval] = call("GET", f"/v1/approvals?task_id={task_id}").json["approvals"]
    return dict(approval)


def decide(call: Caller, approval: dict[str, Any], decision: str, **more: Any) -> Any:
    headers = more.pop("headers", {})
    body = {"decision": decision, "proposal_hash": approval["proposal_hash"], **more}
    return call("POST", f"/v1/approvals/{approval['approval_id']}/decision", json=body, headers=headers)


def make_due(engineer: Engineer, approval: dict[str, Any]) -> None:
    """Let the time of an approval be over, as the database sees it."""
    engineer.ask(
        "UPDATE approvals SET expires_at = now() - interval '1 second' WHERE id = %(id)s",
        id=approval["approval_id"],
    )


def test_a_pending_approval_shows_what_is_about_to_run(asked: dict[str, Any], call: Caller) -> None:
    answer = call("GET", f"/v1/approvals/{asked['approval_id']}")

    assert answer.json == asked
    assert asked["proposal"] == {
        "arm": "executor",
        "action": "wait",
        "inputs": {"seconds": 0},
        "effect": None,
    }
    assert (asked["kind"], asked["state"], asked["ask"], asked["by"], asked["step_id"]) == (
        "approval", "pending", "Wait a little?", "the desk", "a",
    )  # fmt: skip
    assert asked["allow"] == ["approve", "edit", "reject"]
    assert asked["links"]["decision"] == f"/v1/approvals/{asked['approval_id']}/decision"
    assert_time(asked["requested_at"])
    assert_time(asked["expires_at"])
    assert [asked[name] for name in ("decided_by", "decided_at", "via", "value")] == [None] * 4


def test_an_unchanged_approval_is_304(asked: dict[str, Any], call: Caller) -> None:
    path = f"/v1/approvals/{asked['approval_id']}"
    etag = call("GET", path).headers["ETag"]

    assert call("GET", path, headers={"If-None-Match": etag}).status_code == 304
    decide(call, asked, "reject")
    assert call("GET", path, headers={"If-None-Match": etag}).status_code == 200


def test_the_list_is_filtered_and_paged(engineer: Engineer, call: Caller) -> None:
    first, second, third = (ask(engineer, call, by=name) for name in ("ann", "ben", "ann"))
    decide(call, second, "approve")

    def ids(query: str) -> list[str]:
        return [item["approval_id"] for item in call("GET", f"/v1/approvals{query}").json["approvals"]]

    newest_first = [item["approval_id"] for item in (third, second, first)]
    assert ids("") == newest_first
    assert ids("?state=pending") == [third["approval_id"], first["approval_id"]]
    assert ids("?state=approved") == [second["approval_id"]]
    assert ids("?assignee=ann&limit=1") == [third["approval_id"]]
    assert ids(f"?task_id={first['task_id']}") == [first["approval_id"]]
    page = call("GET", "/v1/approvals?limit=2").json
    assert page["next_cursor"] == second["approval_id"]
    assert ids(f"?cursor={page['next_cursor']}") == [first["approval_id"]]


def test_the_list_can_begin_with_what_expires_first(engineer: Engineer, call: Caller) -> None:
    late, soon, between = (ask(engineer, call, expires_in=seconds) for seconds in (900, 300, 600))

    page = call("GET", "/v1/approvals?sort=expiry&limit=2")
    rest = call("GET", f"/v1/approvals?sort=expiry&limit=2&cursor={page.json['next_cursor']}").json
    again = call("GET", "/v1/approvals?sort=expiry&limit=2", headers={"If-None-Match": page.headers["ETag"]})

    assert page.json["approvals"] == [soon, between]
    assert (rest["approvals"], rest["next_cursor"]) == ([late], None)
    assert again.status_code == 304


@pytest.mark.parametrize(
    "query",
    [
        "state=open",
        "sort=oldest",
        "task_id=x",
        "assignee=",
        "assignee=%00",
        "assignee=a%0Ab",
        "limit=0",
        "limit=101",
        "cursor=x",
        "cursor=task_0000000000000000",
    ],
)
def test_a_wrong_filter_is_422(call: Caller, query: str) -> None:
    assert_problem(call("GET", f"/v1/approvals?{query}"), 422, "validation_error")


def test_an_approved_step_is_queued_in_the_same_commit(
    engineer: Engineer, asked: dict[str, Any], call: Caller
) -> None:
    assert engineer.states(asked["task_id"])["a"] == "waiting"

    answer = decide(call, asked, "approve", comment=" looks right ")

    assert answer.status_code == 200
    decided = answer.json
    assert (decided["state"], decided["decided_by"], decided["via"], decided["comment"]) == (
        "approved", f"{TENANT}/key-of-{TENANT}", "api", "looks right",
    )  # fmt: skip
    assert_time(decided["decided_at"])
    assert engineer.states(asked["task_id"])["a"] == "queued"
    [event] = [event for event in engineer.events(asked["task_id"]) if event.type == "approval.decided"]
    assert event.payload["state"] == "approved"


def test_edited_inputs_are_checked_as_a_plan_s(
    engineer: Engineer, asked: dict[str, Any], call: Caller
) -> None:
    wrong = decide(call, asked, "edit", inputs={"seconds": "soon"})
    right = decide(call, asked, "edit", inputs={"seconds": 1})

    assert_problem(wrong, 422, "validation_error")
    assert (right.json["state"], right.json["value"]) == ("edited", {"seconds": 1})
    assert right.json["proposal"]["inputs"] == {"seconds": 0}


def test_a_decision_that_the_step_does_not_allow_is_422(engineer: Engineer, call: Caller) -> None:
    approval = ask(engineer, call, allow=["approve", "reject"])

    for verb, value in (
        ("edit", {"inputs": {"seconds": 1}}),
        ("answer", {"answer": 1}),
        ("accept", {"answer": {}}),
    ):
        problem = assert_problem(decide(call, approval, verb, **value), 422, "validation_error")
        assert "approve, reject" in problem["message"]
    assert call("GET", f"/v1/approvals/{approval['approval_id']}").json["state"] == "pending"


def test_a_body_that_is_not_a_decision_is_422_and_decides_nothing(
    asked: dict[str, Any], call: Caller
) -> None:
    path = f"/v1/approvals/{asked['approval_id']}"

    for body, field in WRONG_BODIES:
        sent = {"proposal_hash": asked["proposal_hash"], **body}
        problem = assert_problem(call("POST", f"{path}/decision", json=sent), 422, "validation_error")

        assert any(fault["field"].startswith(field) for fault in problem["details"]["errors"]), problem
    assert call("GET", path).json["state"] == "pending"


def test_of_two_decisions_the_first_counts_and_the_other_hears_who_and_when(
    asked: dict[str, Any], call: Caller
) -> None:
    first = decide(call, asked, "reject", comment="no").json

    problem = assert_problem(decide(call, asked, "approve"), 409, "already_decided")

    assert problem["details"] == {
        "state": "rejected",
        "decided_by": first["decided_by"],
        "decided_at": problem["details"]["decided_at"],
        "via": "api",
    }
    assert first["decided_by"] in problem["message"]


def test_of_many_simultaneous_decisions_one_counts(
    asked: dict[str, Any], app: Flask, settings: Settings
) -> None:
    token = sign_token(settings, tenant=TENANT, key_id="k", scopes=SCOPES)
    start, answers = threading.Barrier(8), []

    def send(number: int) -> None:
        caller = Caller(app, token)
        start.wait(10)
        answers.append(decide(caller, asked, "approve" if number % 2 else "reject").status_code)

    threads = [threading.Thread(target=send, args=[number]) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)

    assert sorted(answers) == [200] + [409] * 7


def test_the_same_idempotency_key_gets_the_same_answer(asked: dict[str, Any], call: Caller) -> None:
    once = {"Idempotency-Key": "k-1"}
    first = decide(call, asked, "approve", headers=once)

    again = decide(call, asked, "approve", headers=once)
    other = decide(call, asked, "reject", headers=once)
    fresh = decide(call, asked, "approve", headers={"Idempotency-Key": "k-2"})

    assert (again.status_code, again.json) == (200, first.json)
    assert again.headers["Idempotency-Replayed"] == "true"
    assert "Idempotency-Replayed" not in first.headers
    assert_problem(other, 409, "idempotency_conflict")
    assert_problem(fresh, 409, "already_decided")


def test_another_caller_s_idempotency_key_is_its_own(
    asked: dict[str, Any], app: Flask, settings: Settings
) -> None:
    """A key that was used by one person must not make another one believe that it decided."""
    once = {"Idempotency-Key": "1"}
    ann, ben = (
        Caller(app, sign_token(settings, tenant=TENANT, key_id=name, scopes=SCOPES))
        for name in ("ann", "ben")
    )

    decide(ann, asked, "approve", headers=once)

    problem = assert_problem(decide(ben, asked, "approve", headers=once), 409, "already_decided")
    assert problem["details"]["decided_by"] == f"{TENANT}/ann"


def test_an_approval_can_not_be_decided_after_its_time(
    engineer: Engineer, asked: dict[str, Any], call: Caller
) -> None:
    make_due(engineer, asked)

    problem = assert_problem(decide(call, asked, "approve"), 409, "approval_expired")

    assert problem["details"]["decided_by"] is None
    assert engineer.states(asked["task_id"])["a"] == "waiting"


def test_a_cancelled_task_s_approval_is_withdrawn(
    engineer: Engineer, asked: dict[str, Any], call: Caller
) -> None:
    call("DELETE", f"/v1/tasks/{asked['task_id']}")

    problem = assert_problem(decide(call, asked, "approve"), 409, "already_decided")

    assert problem["details"]["state"] == "withdrawn"
    assert call("GET", f"/v1/approvals/{asked['approval_id']}").json["state"] == "withdrawn"


def test_another_tenant_s_approval_is_unknown(
    asked: dict[str, Any], as_caller: AsCaller, call: Caller
) -> None:
    stranger = as_caller("umbrella")
    path = f"/v1/approvals/{asked['approval_id']}"

    for method, way, body in (
        ("GET", path, None),
        ("POST", f"{path}/decision", {"decision": "approve", "proposal_hash": asked["proposal_hash"]}),
        ("POST", f"{path}/link", {"for": "me"}),
    ):
        assert_problem(stranger(method, way, json=body), 404, "resource_not_found")
    assert stranger("GET", "/v1/approvals").json["approvals"] == []
    assert stranger("GET", f"/v1/approvals?task_id={asked['task_id']}").json["approvals"] == []
    assert call("GET", path).json["state"] == "pending"


@pytest.mark.parametrize("approval_id", ["x", "appr_", "appr_" + "é" * 16, "task_0000000000000000", "%00"])
def test_a_malformed_id_is_unknown(call: Caller, approval_id: str) -> None:
    assert_problem(call("GET", f"/v1/approvals/{approval_id}"), 404, "resource_not_found")


def test_an_unknown_id_is_404(call: Caller) -> None:
    assert_problem(call("GET", f"/v1/approvals/{new_approval_id()}"), 404, "resource_not_found")


def test_deciding_needs_its_own_scope(asked: dict[str, Any], as_caller: AsCaller) -> None:
    reader = as_caller(scopes=("task:read", "task:submit", "task:cancel"))
    approver = as_caller(scopes=("task:approve",))

    problem = assert_problem(decide(reader, asked, "approve"), 403, "insufficient_permissions")
    answer = decide(approver, asked, "approve")

    assert problem["details"]["required_scope"] == "task:approve"
    assert answer.status_code == 200


def test_an_assignee_that_names_a_key_is_the_only_one_who_decides(
    engineer: Engineer, call: Caller, app: Flask, settings: Settings
) -> None:
    approval = ask(engineer, call, by="key:k7")
    k7 = Caller(app, sign_token(settings, tenant=TENANT, key_id="k7", scopes=["task:approve"]))
    admin = Caller(app, sign_token(settings, tenant=TENANT, key_id="k8", scopes=["admin"]))

    refused = assert_problem(decide(admin, approval, "approve"), 403, "not_the_assignee")
    link = admin("POST", f"/v1/approvals/{approval['approval_id']}/link", json={"for": "me"})

    assert "key:k7" in refused["message"]
    assert_problem(link, 403, "not_the_assignee")
    assert decide(k7, approval, "approve").status_code == 200


@pytest.mark.parametrize("by", ["key:", "keys:k7", "k7", "the desk", "key"])
def test_any_other_assignee_is_only_shown(engineer: Engineer, call: Caller, by: str) -> None:
    """`key:` names nobody, so nobody is refused but the nameless: it must not lock an approval for ever."""
    answer = decide(call, ask(engineer, call, by=by), "approve")

    assert answer.status_code == 200


def test_with_four_eyes_the_submitter_may_not_decide(
    engine: Engine, settings: Settings, engineer: Engineer
) -> None:
    app = create_app(replace(settings, approval_four_eyes="on"))
    ann, ben = (
        Caller(app, sign_token(settings, tenant=TENANT, key_id=name, scopes=SCOPES))
        for name in ("ann", "ben")
    )
    plan = {"steps": [wait_step("a", approval=GATE)]}
    task_id = ann("POST", "/v1/tasks", json={"goal": "wait", "plan": plan}).json["task_id"]
    engineer.plan(task_id)
    [approval] = ann("GET", f"/v1/approvals?task_id={task_id}").json["approvals"]

    problem = assert_problem(decide(ann, approval, "approve"), 403, "own_task")
    link = ann("POST", f"/v1/approvals/{approval['approval_id']}/link", json={"for": "myself"})
    answer = decide(ben, approval, "approve")
    hub_of(app).stop()

    assert "submitted" in problem["message"]
    assert_problem(link, 403, "own_task")
    assert answer.status_code == 200


def test_a_status_says_for_whom_the_task_waits(asked: dict[str, Any], call: Caller) -> None:
    task = call("GET", f"/v1/tasks/{asked['task_id']}").json

    assert "waiting for approval by the desk until" in task["message"]
