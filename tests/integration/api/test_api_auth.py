"""Authentication and authorization: keys, tokens, scopes and tenants."""

import json
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from flask import Flask
from jwt.algorithms import OKPAlgorithm
from sqlalchemy import Engine

from api.app import create_app
from api.middleware import auth
from orchestrator.auth.credential import SCOPES, sign_token
from orchestrator.chord.database import transaction
from orchestrator.memory import keys
from orchestrator.memory.keys import KeyRecord
from orchestrator.settings import Settings
from tests.integration.api.assertions import assert_problem
from tests.integration.api.conftest import AsCaller, Caller
from tests.tls import Reply, make_certificate, serve

_EVERYWHERE = ("/health", "/ready", "/metrics", "/openapi.json", "/docs")
PUBLIC = {
    "/v1/auth/token",
    "/v1/auth/session",
    # the link is the credential
    "/v1/approval-links/<link>",
    *(prefix + path for prefix in ("", "/v1") for path in _EVERYWHERE),
}


def make_key(
    engine: Engine, *, scopes: tuple[str, ...] = ("all",), expires_at: datetime | None = None
) -> tuple[KeyRecord, str]:
    with transaction(engine) as conn:
        return keys.create(conn, tenant="acme", scopes=scopes, expires_at=expires_at)


@pytest.fixture
def anonymous(app: Flask) -> Caller:
    """A caller without a token."""
    return Caller(app, None)


def test_every_endpoint_but_the_public_ones_needs_a_token(app: Flask, anonymous: Caller) -> None:
    guarded = [
        (method, rule.rule.replace("<task_id>", "task_0000000000000000").replace("<artifact_id>", "0" * 64))
        for rule in app.url_map.iter_rules()
        if rule.rule not in PUBLIC and not rule.endpoint.startswith(("console.", "guide."))
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    ]

    answers = {(method, path): anonymous(method, path) for method, path in guarded}

    assert len(answers) == 52
    for answer in answers.values():
        assert_problem(answer, 401, "missing_auth")
        assert answer.headers["WWW-Authenticate"] == 'Bearer realm="octollm"'


@pytest.mark.parametrize(
    ("method", "path", "scope"),
    [
        ("POST", "/v1/tasks", "task:submit"),
        ("GET", "/v1/tasks", "task:read"),
        ("GET", "/v1/tasks/task_0000000000000000", "task:read"),
        ("GET", "/v1/tasks/task_0000000000000000/events", "task:read"),
        ("GET", "/v1/tasks/task_0000000000000000/trace", "task:read"),
        ("GET", "/v1/tasks/task_0000000000000000/stream", "task:read"),
        ("POST", "/v1/tasks/task_0000000000000000/stream-ticket", "task:read"),
        ("DELETE", "/v1/tasks/task_0000000000000000", "task:cancel"),
        ("POST", "/v1/tasks/task_0000000000000000/cancel", "task:cancel"),
        ("POST", "/v1/files", "task:submit"),
        ("GET", "/v1/files/" + "0" * 64, "task:read"),
        ("GET", "/v1/approvals", "task:read"),
        ("GET", "/v1/approvals/appr_0000000000000000", "task:read"),
        ("POST", "/v1/approvals/appr_0000000000000000/decision", "task:approve"),
        ("POST", "/v1/approvals/appr_0000000000000000/link", "task:approve"),
        ("GET", "/v1/arms", "arm:list"),
        ("GET", "/v1/capabilities", "arm:list"),
        ("POST", "/v1/arms/register", "arm:register"),
    ],
)
def test_a_call_needs_its_scope(as_caller: AsCaller, method: str, path: str, scope: str) -> None:
    others = tuple(name for name in SCOPES if name not in {scope, "admin"})

    problem = assert_problem(as_caller(scopes=others)(method, path), 403, "insufficient_permissions")
    answer = as_caller(scopes=(scope,))(method, path)

    assert problem["details"]["required_scope"] == scope
    assert answer.status_code not in {401, 403}


def test_a_token_is_accepted_in_either_header(app: Flask, settings: Settings, anonymous: Caller) -> None:
    token = sign_token(settings, tenant="acme", key_id="k", scopes=["arm:list"])

    headers = [
        {"Authorization": f"Bearer {token}"},
        {"authorization": f"bearer {token}"},
        {"X-API-Key": token},
    ]

    assert [anonymous("GET", "/v1/arms", headers=given).status_code for given in headers] == [200, 200, 200]


def test_the_bearer_token_takes_precedence(settings: Settings, anonymous: Caller) -> None:
    token = sign_token(settings, tenant="acme", key_id="k", scopes=["arm:list"])

    answer = anonymous("GET", "/v1/arms", headers={"Authorization": "Bearer x.y.z", "X-API-Key": token})

    assert_problem(answer, 401, "invalid_credential")


@pytest.mark.parametrize("header", ["Basic YTpi", "Bearer", "Bearer ", "x", "Digest a=b", "Bearer a b"])
def test_any_other_authorization_is_refused(anonymous: Caller, header: str) -> None:
    answer = anonymous("GET", "/v1/arms", headers={"Authorization": header})

    assert answer.status_code == 401
    assert answer.json["code"] in {"missing_auth", "invalid_credential"}


def test_a_forged_token_is_refused(settings: Settings, anonymous: Caller) -> None:
    good = jwt.decode(
        sign_token(settings, tenant="acme", key_id="k", scopes=SCOPES), options={"verify_signature": False}
    )
    forged = [
        jwt.encode(good, "another secret of at least 32 bytes", algorithm="HS256"),
        jwt.encode(good, "", algorithm="none"),
        jwt.encode({**good, "iss": "me"}, settings.jwt_secret, algorithm="HS256"),
        jwt.encode({**good, "aud": "me"}, settings.jwt_secret, algorithm="HS256"),
        jwt.encode({**good, "exp": int(time.time()) - 1}, settings.jwt_secret, algorithm="HS256"),
        jwt.encode(good, settings.jwt_secret * 2, algorithm="HS512"),
    ]

    answers = [anonymous("GET", "/v1/arms", headers={"Authorization": f"Bearer {token}"}) for token in forged]

    for answer in answers:
        assert_problem(answer, 401, "invalid_credential")


def test_a_key_is_exchanged_for_a_token_with_its_scopes(engine: Engine, anonymous: Caller) -> None:
    key, text = make_key(engine, scopes=("arm:list",))

    answer = anonymous("POST", "/v1/auth/token", headers={"X-API-Key": text})
    bearer = {"Authorization": f"Bearer {answer.json['access_token']}"}

    assert answer.status_code == 200
    assert (answer.json["token_type"], answer.json["scopes"]) == ("Bearer", ["arm:list"])
    assert answer.json["expires_in"] > 0
    assert answer.headers["Cache-Control"] == "no-store"
    assert anonymous("GET", "/v1/arms", headers=bearer).status_code == 200
    assert anonymous("GET", "/v1/tasks", headers=bearer).status_code == 403
    with transaction(engine) as conn:
        assert keys.list_keys(conn, tenant="acme")[0].last_used_at is not None
        assert keys.list_keys(conn, tenant="acme")[0].id == key.id


def test_a_key_is_accepted_nowhere_else(engine: Engine, anonymous: Caller) -> None:
    _, text = make_key(engine)

    for headers in ({"X-API-Key": text}, {"Authorization": f"Bearer {text}"}):
        problem = assert_problem(anonymous("GET", "/v1/arms", headers=headers), 401, "invalid_credential")
        assert "/v1/auth/token" in problem["message"]
        assert text not in str(problem)


def test_an_invalid_key_is_refused(engine: Engine, anonymous: Caller) -> None:
    _, expired = make_key(engine, expires_at=datetime.now(UTC) - timedelta(seconds=1))
    revoked_key, revoked = make_key(engine)
    _, good = make_key(engine)
    with transaction(engine) as conn:
        assert keys.revoke(conn, revoked_key.id)
    other_end = good[:-1] + ("a" if good[-1] != "a" else "b")
    bad = [expired, revoked, other_end, good.replace("octo_live", "octo_test"), "octo_live_x_y", "x"]

    answers = [anonymous("POST", "/v1/auth/token", headers={"X-API-Key": text}) for text in bad]

    for answer in answers:
        assert_problem(answer, 401, "invalid_credential")
    assert_problem(anonymous("POST", "/v1/auth/token"), 401, "missing_auth")


def test_a_token_is_refused_after_its_key_was_revoked(
    engine: Engine, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(auth, "REVOCATION_SECONDS", 0)
    anonymous = Caller(create_app(settings), None)
    key, text = make_key(engine)
    token = anonymous("POST", "/v1/auth/token", headers={"X-API-Key": text}).json["access_token"]
    bearer = {"Authorization": f"Bearer {token}"}

    before = anonymous("GET", "/v1/arms", headers=bearer)
    with transaction(engine) as conn:
        keys.revoke(conn, key.id)
    after = anonymous("GET", "/v1/arms", headers=bearer)

    assert before.status_code == 200
    assert_problem(after, 401, "invalid_credential")


def test_another_tenant_s_objects_are_not_found(as_caller: AsCaller) -> None:
    ours, theirs = as_caller("acme"), as_caller("umbrella")
    task_id = ours("POST", "/v1/tasks", json={"goal": "ours"}).json["task_id"]
    file_id = ours("POST", "/v1/files", data=b"ours", content_type="text/plain").json["artifact_id"]
    calls = [
        ("GET", f"/v1/tasks/{task_id}", "task_0000000000000000"),
        ("GET", f"/v1/tasks/{task_id}/events", "task_0000000000000000"),
        ("GET", f"/v1/tasks/{task_id}/trace", "task_0000000000000000"),
        ("DELETE", f"/v1/tasks/{task_id}", "task_0000000000000000"),
        ("POST", f"/v1/tasks/{task_id}/cancel", "task_0000000000000000"),
        ("GET", f"/v1/files/{file_id}", "0" * 64),
    ]

    for method, path, unknown in calls:
        refused = assert_problem(theirs(method, path), 404, "resource_not_found")
        absent = assert_problem(
            theirs(method, path.replace(task_id, unknown).replace(file_id, unknown)),
            404,
            "resource_not_found",
        )
        assert refused["message"] == absent["message"]
        assert refused["details"] == absent["details"]

    assert theirs("GET", "/v1/tasks").json["tasks"] == []
    attached = theirs("POST", "/v1/tasks", json={"goal": "theirs", "attachments": [file_id]})
    assert_problem(attached, 422, "validation_error")
    assert ours("GET", f"/v1/tasks/{task_id}").json["status"] == "queued"


def test_a_key_and_its_successor_overlap(engine: Engine, anonymous: Caller) -> None:
    record, old = make_key(engine, scopes=("arm:list",))
    with transaction(engine) as conn:
        made = keys.rotate(conn, record.id, overlap_seconds=3600)
    assert made is not None
    successor, new = made

    answers = [anonymous("POST", "/v1/auth/token", headers={"X-API-Key": text}) for text in (old, new)]
    with transaction(engine) as conn:
        keys.rotate(conn, record.id, overlap_seconds=0)
    later = anonymous("POST", "/v1/auth/token", headers={"X-API-Key": old})

    assert [answer.json["scopes"] for answer in answers] == [["arm:list"], ["arm:list"]]
    assert (successor.tenant, successor.scopes, successor.expires_at) == ("acme", ("arm:list",), None)
    assert_problem(later, 401, "invalid_credential")


def test_a_successor_has_the_lifetime_of_its_key(engine: Engine) -> None:
    days = timedelta(days=90)
    record, _ = make_key(engine, expires_at=datetime.now(UTC) + days)

    with transaction(engine) as conn:
        made = keys.rotate(conn, record.id, overlap_seconds=60)

    assert made is not None
    assert made[0].expires_at is not None
    assert abs(made[0].expires_at - datetime.now(UTC) - days) < timedelta(minutes=1)


def test_a_revoked_key_has_no_successor(engine: Engine) -> None:
    record, _ = make_key(engine)
    with transaction(engine) as conn:
        keys.revoke(conn, record.id)

        assert keys.rotate(conn, record.id, overlap_seconds=60) is None
        assert keys.rotate(conn, "unknown", overlap_seconds=60) is None


def test_tokens_of_an_identity_provider_are_accepted(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate, private = make_certificate(tmp_path), Ed25519PrivateKey.generate()
    published = {**OKPAlgorithm.to_jwk(private.public_key(), as_dict=True), "kid": "k1"}
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    claims = {
        "iss": settings.jwt_issuer,
        "aud": settings.jwt_audience,
        "sub": "user-7",
        "iat": int(time.time()),
        "exp": int(time.time()) + 60,
        "tenant": "acme",
        "scope": "task:read",
    }
    token = jwt.encode(claims, private, algorithm="EdDSA", headers={"kid": "k1"})

    with serve(certificate, lambda _: Reply(body=json.dumps({"keys": [published]}).encode())) as provider:
        foreign = Caller(create_app(replace(settings, jwt_jwks_url=f"{provider.url}/keys")), token)
        answers = [foreign("GET", path).status_code for path in ("/v1/tasks", "/v1/arms")]
    away = Caller(create_app(replace(settings, jwt_jwks_url=f"{provider.url}/keys")), token)

    assert answers == [200, 403]
    assert_problem(away("GET", "/v1/tasks"), 503, "service_unavailable")
    assert_problem(Caller(create_app(settings), token)("GET", "/v1/tasks"), 401, "invalid_credential")
