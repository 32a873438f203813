"""Links to approvals: they show one proposal, decide it once for a named person, and end as they must."""

import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import Engine

from api.app import create_app
from api.middleware import audit
from api.middleware.context import orchestrator_of
from api.streaming.hub import hub_of
from orchestrator.auth import approval_link
from orchestrator.auth.approval_link import ApprovalLink
from orchestrator.auth.credential import sign_token
from orchestrator.chord.database import statement, transaction
from orchestrator.memory import audit_log, keys
from orchestrator.models.ids import new_approval_id
from orchestrator.settings import Settings
from orchestrator.settings_text import Rate
from tests.integration.api.assertions import assert_problem, assert_time
from tests.integration.api.conftest import AsCaller, Caller
from tests.integration.api.test_api_approvals import ask, decide, make_due
from tests.integration.kit import TENANT, Engineer

WRONG_REQUESTS: list[tuple[dict[str, Any], str]] = [
    ({}, "for"),
    ({"for": ""}, "for"),
    ({"for": "   "}, "for"),
    ({"for": "x" * 201}, "for"),
    ({"for": "Zoë\nadmin"}, "for"),
    ({"for": "Zoë\u202e"}, "for"),
    ({"for": 1}, "for"),
    ({"for": "Zoë", "expires_in": 59}, "expires_in"),
    ({"for": "Zoë", "expires_in": 10**9}, "expires_in"),
    ({"for": "Zoë", "expires_in": "60"}, "expires_in"),
    ({"for": "Zoë", "expires_in": 60.5}, "expires_in"),
    ({"for": "Zoë", "approval_id": "x"}, "approval_id"),
]


@pytest.fixture
def anyone(app: Flask) -> Caller:
    """A caller without a token."""
    return Caller(app, None)


@pytest.fixture
def asked(engineer: Engineer, call: Caller) -> dict[str, Any]:
    """A pending approval, as the API shows it."""
    return ask(engineer, call)


@pytest.fixture
def url(asked: dict[str, Any], call: Caller) -> str:
    """A link to the approval for Zoë."""
    return link_to(call, asked)


def link_to(call: Caller, approval: dict[str, Any], person: str = "Zoë", **more: Any) -> str:
    answer = call("POST", f"/v1/approvals/{approval['approval_id']}/link", json={"for": person, **more})
    assert answer.status_code == 201, answer.json
    return str(answer.json["url"])


def state_of(call: Caller, approval: dict[str, Any]) -> str:
    return str(call("GET", f"/v1/approvals/{approval['approval_id']}").json["state"])


def forged(app: Flask, approval: dict[str, Any], **changed: Any) -> str:
    """Return the URL of a link that this API signed, with chosen members."""
    link = ApprovalLink(
        tenant=TENANT,
        approval_id=approval["approval_id"],
        proposal_hash=approval["proposal_hash"],
        person="Zoë",
        key_id="k",
        subject=f"{TENANT}/k",
        expires_at=int(time.time()) + 60,
    )
    text = approval_link.sign(replace(link, **changed), secret=orchestrator_of(app).link_secret)
    return f"/v1/approval-links/{text}"


def test_a_link_shows_the_proposal_and_never_decides_on_get(
    anyone: Caller, url: str, asked: dict[str, Any], call: Caller
) -> None:
    answers = [anyone(method, url) for method in ("GET", "HEAD", "GET", "OPTIONS")]

    assert [answer.status_code for answer in answers] == [200] * 4
    shown = answers[0].json
    assert (shown["proposal"], shown["ask"], shown["for"]) == (asked["proposal"], asked["ask"], "Zoë")
    assert shown["links"] == {}
    assert_time(shown["link_expires_at"])
    assert answers[0].headers["Cache-Control"] == "no-store"
    assert answers[0].headers["Referrer-Policy"] == "no-referrer"
    assert state_of(call, asked) == "pending"


def test_a_link_decides_once_and_says_for_whom_it_was(
    anyone: Caller, url: str, asked: dict[str, Any], engineer: Engineer
) -> None:
    answer = anyone("POST", url, json={"decision": "approve", "comment": "go on"})
    again = anyone("POST", url, json={"decision": "reject"})

    decided = answer.json
    assert (answer.status_code, decided["state"], decided["decided_by"], decided["via"]) == (
        200, "approved", "Zoë", "link",
    )  # fmt: skip
    problem = assert_problem(again, 409, "already_decided")
    assert (problem["details"]["decided_by"], problem["details"]["via"]) == ("Zoë", "link")
    assert engineer.states(asked["task_id"])["a"] == "queued"
    assert anyone("GET", url).json["state"] == "approved"


def test_a_repeated_request_with_the_same_key_gets_the_same_answer(anyone: Caller, url: str) -> None:
    once = {"Idempotency-Key": "k"}

    first = anyone("POST", url, json={"decision": "reject"}, headers=once)
    again = anyone("POST", url, json={"decision": "reject"}, headers=once)

    assert (again.status_code, again.json) == (200, first.json)
    assert again.headers["Idempotency-Replayed"] == "true"


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE"])
def test_no_other_method_is_supported(anyone: Caller, url: str, method: str) -> None:
    assert_problem(anyone(method, url, json={"decision": "approve"}), 405, "method_not_allowed")


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"decision": "approve", "via": "api"},
        {"decision": "approve", "proposal_hash": "0" * 64},
        {"decision": "approve", "for": "somebody else"},
        {"decision": "edit"},
        {"decision": "answer", "answer": 1},
    ],
)
def test_a_wrong_body_decides_nothing(
    anyone: Caller, url: str, asked: dict[str, Any], call: Caller, body: dict[str, Any]
) -> None:
    assert_problem(anyone("POST", url, json=body), 422, "validation_error")
    assert state_of(call, asked) == "pending"


def test_a_form_that_another_page_sends_decides_nothing(
    anyone: Caller, url: str, asked: dict[str, Any], call: Caller
) -> None:
    """Only JSON is read, for which a browser asks the API first: a page of another origin can't send it."""
    for media_type in ("application/x-www-form-urlencoded", "text/plain", "multipart/form-data"):
        answer = anyone("POST", url, data=b'{"decision": "approve"}', content_type=media_type)
        assert_problem(answer, 415, "unsupported_media_type")
    assert state_of(call, asked) == "pending"


def test_an_altered_link_is_refused(anyone: Caller, url: str) -> None:
    broken = url[:-1] + ("A" if url[-1] != "A" else "B")

    for path in (broken, url + "x", url.rpartition(".")[0], "/v1/approval-links/x", "/v1/approval-links/.é"):
        for method in ("GET", "POST"):
            problem = assert_problem(
                anyone(method, path, json={"decision": "approve"}), 401, "invalid_credential"
            )
            assert problem["details"]["reason"] == "link"


def test_an_expired_link_is_refused(anyone: Caller, app: Flask, asked: dict[str, Any]) -> None:
    path = forged(app, asked, expires_at=int(time.time()))

    problem = assert_problem(anyone("POST", path, json={"decision": "approve"}), 401, "invalid_credential")

    assert problem["details"]["reason"] == "expired"


def test_a_link_does_not_outlive_its_approval(engineer: Engineer, call: Caller) -> None:
    short = ask(engineer, call, expires_in=120)
    path = f"/v1/approvals/{short['approval_id']}/link"

    longest = call("POST", path, json={"for": "Zoë"}).json["expires_at"]
    chosen = call("POST", path, json={"for": "Zoë", "expires_in": 60}).json["expires_at"]

    # a link's expiry is in whole seconds
    assert chosen < longest <= short["expires_at"]


def test_a_link_can_not_decide_after_the_approval_s_time(
    anyone: Caller, url: str, asked: dict[str, Any], engineer: Engineer
) -> None:
    make_due(engineer, asked)

    assert_problem(anyone("POST", url, json={"decision": "approve"}), 409, "approval_expired")


def test_a_link_to_a_withdrawn_approval_says_so(
    anyone: Caller, url: str, asked: dict[str, Any], call: Caller
) -> None:
    call("DELETE", f"/v1/tasks/{asked['task_id']}")

    problem = assert_problem(anyone("POST", url, json={"decision": "approve"}), 409, "already_decided")
    issued = call("POST", f"/v1/approvals/{asked['approval_id']}/link", json={"for": "Ann"})

    assert anyone("GET", url).json["state"] == "withdrawn"
    assert problem["details"]["state"] == "withdrawn"
    assert_problem(issued, 409, "already_decided")


def test_a_link_is_bound_to_its_tenant_and_proposal(
    anyone: Caller, app: Flask, asked: dict[str, Any], call: Caller
) -> None:
    approve = {"decision": "approve"}
    other_tenant = forged(app, asked, tenant="umbrella")
    other_proposal = forged(app, asked, proposal_hash="0" * 64)
    no_approval = forged(app, asked, approval_id=new_approval_id())

    assert_problem(anyone("POST", other_tenant, json=approve), 404, "resource_not_found")
    assert_problem(anyone("POST", other_proposal, json=approve), 422, "validation_error")
    assert_problem(anyone("GET", no_approval), 404, "resource_not_found")
    assert state_of(call, asked) == "pending"


def test_a_link_ends_with_the_key_that_made_it(
    anyone: Caller, app: Flask, settings: Settings, asked: dict[str, Any], call: Caller
) -> None:
    engine = orchestrator_of(app).engine
    with transaction(engine) as conn:
        record, _ = keys.create(conn, tenant=TENANT, scopes=["task:approve"])
    maker = Caller(app, sign_token(settings, tenant=TENANT, key_id=record.id, scopes=record.scopes))
    path = link_to(maker, asked)
    with transaction(engine) as conn:
        keys.revoke(conn, record.id)
    app.extensions["octollm_keys"]._checked_at.clear()

    problem = assert_problem(anyone("POST", path, json={"decision": "approve"}), 401, "invalid_credential")

    assert problem["details"]["reason"] == "revoked"
    assert state_of(call, asked) == "pending"


def test_a_wrong_request_for_a_link_is_422(asked: dict[str, Any], call: Caller) -> None:
    path = f"/v1/approvals/{asked['approval_id']}/link"

    for body, field in WRONG_REQUESTS:
        problem = assert_problem(call("POST", path, json=body), 422, "validation_error")

        assert problem["details"]["errors"][0]["field"] == field, body


def test_making_a_link_needs_the_right_to_decide(asked: dict[str, Any], as_caller: AsCaller) -> None:
    reader = as_caller(scopes=("task:read", "task:submit"))

    answer = reader("POST", f"/v1/approvals/{asked['approval_id']}/link", json={"for": "me"})

    assert_problem(answer, 403, "insufficient_permissions")


@pytest.fixture(scope="module")
def public(settings: Settings) -> Iterator[Flask]:
    """An app with a public URL, a low rate limit and an audit log of its own."""
    chosen = replace(settings, public_url="https://octo.example.com", rate_limit=Rate(5, 3600))
    app = create_app(chosen)
    yield app
    hub_of(app).stop()
    audit.buffer_of(app).close()


def test_with_a_public_url_a_link_is_absolute(
    public: Flask, settings: Settings, asked: dict[str, Any]
) -> None:
    maker = Caller(public, sign_token(settings, tenant=TENANT, key_id="k-public", scopes=["task:approve"]))

    assert link_to(maker, asked).startswith("https://octo.example.com/v1/approval-links/")


def test_a_link_has_a_rate_limit_of_its_own(public: Flask, settings: Settings, asked: dict[str, Any]) -> None:
    """Whoever has a link can't use up the calls of the key that made it."""
    path = forged(public, asked, key_id="k-own", subject=f"{TENANT}/k-own")
    anyone = Caller(public, None)

    statuses = [anyone("GET", path).status_code for _ in range(7)]
    maker = Caller(public, sign_token(settings, tenant=TENANT, key_id="k-own", scopes=["task:read"]))

    assert statuses == [200] * 5 + [429] * 2
    assert maker("GET", f"/v1/approvals/{asked['approval_id']}").status_code == 200


@pytest.mark.usefixtures("empty_audit_log")
def test_what_a_link_does_is_recorded_under_the_key_that_made_it(
    public: Flask, engine: Engine, settings: Settings, asked: dict[str, Any]
) -> None:
    maker = Caller(public, sign_token(settings, tenant=TENANT, key_id="k-audit", scopes=["task:approve"]))
    path = link_to(maker, asked).removeprefix("https://octo.example.com")
    anyone = Caller(public, None)
    seen = {"environ_base": {"REMOTE_ADDR": "192.0.2.7"}}

    anyone("GET", path, **seen)
    anyone("POST", path, json={"decision": "reject", "comment": "s3cr3t"}, **seen)
    anyone("POST", path, json={"decision": "reject"}, **seen)
    anyone("POST", path + "x", json={"decision": "reject"}, **seen)
    audit.buffer_of(public).flush()

    with statement(engine) as conn:
        found = audit_log.find(conn)[::-1]
    approval_id = asked["approval_id"]
    assert [
        (entry.action, entry.outcome.value, entry.object, entry.key_id, entry.reason) for entry in found
    ] == [
        ("approval.link", "allowed", approval_id, "k-audit", None),
        ("approval.open", "allowed", approval_id, "k-audit", None),
        ("approval.decide", "allowed", approval_id, "k-audit", None),
        ("approval.decide", "failed", approval_id, "k-audit", "already_decided"),
        ("approval.decide", "denied", None, None, "invalid_credential:link"),
    ]
    assert {entry.address for entry in found[1:]} == {"192.0.2.7"}
    assert "s3cr3t" not in repr(found)
    assert path not in repr(found)


@pytest.mark.usefixtures("empty_audit_log")
def test_decisions_are_recorded_with_the_key_and_the_reason_of_a_refusal(
    public: Flask, engine: Engine, settings: Settings, asked: dict[str, Any]
) -> None:
    decider = Caller(public, sign_token(settings, tenant=TENANT, key_id="k-1", scopes=["task:approve"]))
    reader = Caller(public, sign_token(settings, tenant=TENANT, key_id="k-2", scopes=["task:read"]))

    decide(reader, asked, "approve")
    decide(decider, asked, "approve")
    decide(decider, asked, "reject")
    audit.buffer_of(public).flush()

    with statement(engine) as conn:
        found = audit_log.find(conn)[::-1]
    assert [
        (entry.action, entry.outcome.value, entry.object, entry.key_id, entry.reason) for entry in found
    ] == [
        ("approval.decide", "denied", asked["approval_id"], "k-2", "insufficient_permissions:task:approve"),
        ("approval.decide", "allowed", asked["approval_id"], "k-1", None),
        ("approval.decide", "failed", asked["approval_id"], "k-1", "already_decided"),
    ]
