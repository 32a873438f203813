"""Admins make, rotate and revoke their own tenant's API keys over HTTP; a secret is shown once."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import Engine

from api.app import create_app
from api.middleware import audit
from api.streaming.hub import hub_of
from orchestrator.auth.credential import SCOPES, sign_token
from orchestrator.chord.database import statement, transaction
from orchestrator.memory import audit_log, keys
from orchestrator.settings import Settings
from tests.integration.api.assertions import assert_problem, assert_time
from tests.integration.api.conftest import AsCaller, Caller

Make = Callable[..., dict[str, Any]]

pytestmark = pytest.mark.usefixtures("empty_audit_log")


@pytest.fixture
def audited(settings: Settings) -> Iterator[Flask]:
    """An app that no other test uses: an app leaves refusals out of the log if there were many."""
    app = create_app(settings)
    yield app
    hub_of(app).stop()
    audit.buffer_of(app).close()


@pytest.fixture
def make(call: Caller) -> Make:
    """Return a function that makes a key over HTTP."""

    def request(**members: Any) -> dict[str, Any]:
        answer = call("POST", "/v1/keys", json={"scopes": ["task:read"], **members})
        assert answer.status_code == 201, answer.json
        return dict(answer.json)

    return request


def exchange(app: Flask, text: str) -> int:
    return Caller(app, None)("POST", "/v1/auth/token", headers={"X-API-Key": text}).status_code


def test_a_new_key_works_and_its_secret_is_shown_once(app: Flask, call: Caller, make: Make) -> None:
    made = make(name="reports", expires_days=30)

    answer = call("GET", "/v1/keys")
    [listed] = answer.json["keys"]

    assert made["key"].startswith(f"octo_live_{made['key_id']}_")
    assert (listed["name"], listed["scopes"], listed["state"]) == ("reports", ["task:read"], "live")
    assert listed["is_own"] is False
    assert_time(listed["expires_at"])
    assert listed["last_used_at"] is None
    assert made["key"].rpartition("_")[2] not in answer.get_data(as_text=True)
    assert exchange(app, made["key"]) == 200
    assert call("GET", "/v1/keys").json["keys"][0]["last_used_at"] is not None


def test_a_secret_is_not_kept_by_a_cache(call: Caller) -> None:
    answer = call("POST", "/v1/keys", json={"scopes": ["all"], "expires_days": 0})

    assert answer.headers["Cache-Control"] == "no-store"
    assert (answer.json["scopes"], answer.json["expires_at"]) == (list(SCOPES), None)


def test_a_revoked_key_is_refused(app: Flask, call: Caller, make: Make) -> None:
    made = make()

    first = call("DELETE", f"/v1/keys/{made['key_id']}").json
    again = call("DELETE", f"/v1/keys/{made['key_id']}").json

    assert (first["state"], exchange(app, made["key"])) == ("revoked", 401)
    assert again["revoked_at"] == first["revoked_at"]


def test_a_rotated_key_has_a_successor_and_ends_after_the_overlap(
    app: Flask, call: Caller, make: Make
) -> None:
    made = make(name="reports", expires_days=10)

    answer = call("POST", f"/v1/keys/{made['key_id']}/rotate", json={"overlap_hours": 0})
    by_id = {key["key_id"]: key for key in call("GET", "/v1/keys").json["keys"]}

    assert answer.status_code == 201
    assert (answer.json["name"], answer.json["scopes"]) == ("reports", ["task:read"])
    assert answer.json["expires_at"] > made["expires_at"]
    assert by_id[made["key_id"]]["state"] == "expired"
    assert (exchange(app, made["key"]), exchange(app, answer.json["key"])) == (401, 200)
    assert_problem(call("POST", f"/v1/keys/{made['key_id']}/rotate"), 409, "invalid_operation")


def test_another_tenant_s_keys_are_neither_listed_nor_changed(
    app: Flask, as_caller: AsCaller, call: Caller, make: Make
) -> None:
    made, stranger = make(), as_caller("umbrella")

    assert stranger("GET", "/v1/keys").json == {"keys": [], "next_cursor": None}
    assert_problem(stranger("DELETE", f"/v1/keys/{made['key_id']}"), 404, "resource_not_found")
    assert_problem(stranger("POST", f"/v1/keys/{made['key_id']}/rotate"), 404, "resource_not_found")
    assert exchange(app, made["key"]) == 200


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", ""), ("POST", ""), ("DELETE", "/abcdefghijkl"), ("POST", "/abcdefghijkl/rotate")],
)
def test_every_scope_but_admin_is_not_enough(as_caller: AsCaller, method: str, path: str) -> None:
    others = tuple(scope for scope in SCOPES if scope != "admin")

    answer = as_caller(scopes=others)(method, f"/v1/keys{path}", json={"scopes": ["admin"]})

    assert_problem(answer, 403, "insufficient_permissions")


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"scopes": []},
        {"scopes": ["root"]},
        {"scopes": ["all"], "expires_days": -1},
        {"scopes": ["all"], "expires_days": 40_000},
        {"scopes": ["all"], "environment": "Live"},
        {"scopes": ["all"], "name": "a\u0000b"},
        {"scopes": ["all"], "name": "n" * 201},
        {"scopes": ["all"], "tenant": "umbrella"},
    ],
)
def test_an_invalid_key_is_refused(call: Caller, body: dict[str, Any]) -> None:
    assert_problem(call("POST", "/v1/keys", json=body), 422, "validation_error")


@pytest.mark.parametrize("key_id", ["x", "%00", "a" * 12 + "%0A", "a" * 5000])
def test_an_odd_id_is_not_found(call: Caller, key_id: str) -> None:
    assert_problem(call("DELETE", f"/v1/keys/{key_id}"), 404, "resource_not_found")


def test_keys_are_listed_newest_first_in_pages(call: Caller, make: Make) -> None:
    ids = [make()["key_id"] for _ in range(3)]

    first = call("GET", "/v1/keys?limit=2").json
    second = call("GET", f"/v1/keys?limit=2&cursor={first['next_cursor']}").json

    assert [key["key_id"] for key in first["keys"] + second["keys"]] == ids[::-1]
    assert second["next_cursor"] is None


def test_the_caller_s_own_key_is_marked(app: Flask, engine: Engine) -> None:
    with transaction(engine) as conn:
        key, text = keys.create(conn, tenant="acme", scopes=["admin"])
    token = Caller(app, None)("POST", "/v1/auth/token", headers={"X-API-Key": text}).json["access_token"]

    [listed] = Caller(app, token)("GET", "/v1/keys").json["keys"]

    assert (listed["key_id"], listed["is_own"]) == (key.id, True)


def test_each_change_is_in_the_audit_log_without_the_secret(
    audited: Flask, settings: Settings, engine: Engine
) -> None:
    def caller(tenant: str, *scopes: str) -> Caller:
        token = sign_token(settings, tenant=tenant, key_id="k", scopes=scopes or SCOPES)
        return Caller(audited, token)

    call = caller("acme")
    made = call("POST", "/v1/keys", json={"scopes": ["task:read"]}).json
    again = call("POST", f"/v1/keys/{made['key_id']}/rotate").json
    call("DELETE", f"/v1/keys/{made['key_id']}")
    caller("umbrella")("DELETE", f"/v1/keys/{made['key_id']}")
    caller("acme", "task:read")("POST", "/v1/keys", json={"scopes": ["admin"]})
    audit.buffer_of(audited).flush()

    with statement(engine) as conn:
        found = audit_log.find(conn, action="key")[::-1]

    assert [(entry.action, entry.object, entry.outcome.value) for entry in found] == [
        ("key.create", made["key_id"], "allowed"),
        ("key.rotate", again["key_id"], "allowed"),
        ("key.revoke", made["key_id"], "allowed"),
        ("key.revoke", None, "denied"),
        ("key.create", None, "denied"),
    ]
    assert made["key"].rpartition("_")[2] not in repr(found)
