"""The console's session: a cookie that signs in only our own pages."""

import hashlib
import json
import time
from dataclasses import replace
from http.cookies import SimpleCookie
from typing import Any

import pytest
import redis
from flask import Flask
from sqlalchemy import Engine
from werkzeug.test import TestResponse

from api.app import create_app
from api.middleware import audit, auth
from orchestrator.auth import credential, sign_in_code
from orchestrator.auth.credential import SCOPES
from orchestrator.chord.database import transaction
from orchestrator.cli.console import sign_in_link
from orchestrator.memory import keys
from orchestrator.models.errors import InvalidCredential
from orchestrator.settings import Settings
from orchestrator.settings_text import Rate
from tests.integration.api.assertions import assert_problem
from tests.integration.api.conftest import Browser, Octollm, make_key
from tests.integration.api.live_server import Api
from tests.integration.kit import Engineer, wait_step
from tests.ws import Rejected

FOREIGN: tuple[dict[str, str], ...] = (
    {},
    {"Origin": "null"},
    {"Origin": "https://evil.example"},
    {"Origin": "http://localhost:8001"},
    {"Origin": "http://localhost.evil.example"},
    {"Origin": "http://evil.example@localhost.evil.example"},
    {"Origin": "file://localhost"},
    {"Origin": "http://["},
    {"Origin": "http://localhost:x"},
    {"Origin": "localhost"},
)


def cookie_of(answer: TestResponse) -> Any:
    """Return the one cookie that an answer sets."""
    (header,) = answer.headers.getlist("Set-Cookie")
    (morsel,) = SimpleCookie(header).values()
    return morsel


def test_a_key_opens_a_session_that_no_script_and_no_other_site_can_use(browser: Browser, key: str) -> None:
    answer = browser.sign_in(api_key=key)
    cookie = cookie_of(answer)

    assert answer.status_code == 201
    assert (answer.json["tenant"], sorted(answer.json["scopes"])) == ("acme", sorted(SCOPES))
    assert cookie["httponly"]
    assert (cookie["samesite"], cookie["path"], cookie["domain"]) == ("Strict", "/", "")
    assert int(cookie["max-age"]) == 12 * 3600
    assert cookie.value not in answer.text
    assert answer.headers["Cache-Control"] == "no-store"
    assert browser("GET", "/v1/auth/session", headers={}).json == answer.json
    assert browser("GET", "/v1/arms", headers={}).status_code == 200


def test_the_cookie_is_secure_over_https(browser: Browser, key: str) -> None:
    plain = browser.sign_in(api_key=key)
    tls = browser("POST", "/v1/auth/session", json={"api_key": key}, base_url="https://localhost")
    behind_proxy = browser(
        "POST", "/v1/auth/session", json={"api_key": key}, headers={"Origin": "https://localhost"}
    )

    assert [bool(cookie_of(one)["secure"]) for one in (plain, tls, behind_proxy)] == [False, True, True]


def test_two_servers_on_one_machine_keep_their_sessions_apart(browser: Browser, key: str) -> None:
    answers = [
        browser(
            "POST",
            "/v1/auth/session",
            json={"api_key": key},
            base_url=f"http://localhost{port}",
            headers={"Origin": f"http://localhost{port}"},
        )
        for port in ("", ":8000", ":8001")
    ]

    assert [cookie_of(one).key for one in answers] == [
        "octollm_session",
        "octollm_session_8000",
        "octollm_session_8001",
    ]


@pytest.mark.parametrize("origin", FOREIGN)
def test_a_request_that_changes_something_needs_our_own_origin(
    browser: Browser, key: str, origin: dict[str, str]
) -> None:
    browser.sign_in(api_key=key)
    contract = {"goal": "compute 1 + 1"}
    calls = [
        browser("POST", "/v1/tasks", json=contract, headers=origin),
        browser("POST", "/v1/tasks", data=contract, headers=origin),
        browser("DELETE", "/v1/tasks/task_0000000000000000", headers=origin),
        browser("POST", "/v1/auth/session", json={"api_key": key}, headers=origin),
        browser("DELETE", "/v1/auth/session", headers=origin),
    ]

    for answer in calls:
        assert_problem(answer, 403, "insufficient_permissions")
        assert answer.json["details"] == {"reason": "origin"}
        assert not answer.headers.getlist("Set-Cookie")
    assert browser("GET", "/v1/tasks", headers={}).json["tasks"] == []
    assert browser("POST", "/v1/tasks", json=contract).status_code == 202


@pytest.mark.parametrize("host", ["localhost:x", "localhost:99999999", "[::1", "[", ":", "a b", "localhost:"])
def test_an_odd_host_breaks_nothing(browser: Browser, key: str, host: str) -> None:
    named = {"Host": host, "Origin": f"http://{host}"}
    browser.plant("x.y.z")

    assert browser("GET", "/v1/arms", headers={"Host": host}).status_code == 401
    assert browser("POST", "/v1/auth/session", json={"api_key": key}, headers=named).status_code in {201, 403}


@pytest.mark.parametrize(
    ("site", "status"), [("same-origin", 200), ("none", 200), ("same-site", 403), ("cross-site", 403)]
)
def test_a_read_for_another_page_is_refused_where_the_browser_says_so(
    browser: Browser, key: str, site: str, status: int
) -> None:
    browser.sign_in(api_key=key)

    assert browser("GET", "/v1/tasks", headers={"Sec-Fetch-Site": site}).status_code == status


def test_a_token_in_a_header_counts_before_the_cookie_and_from_any_origin(
    browser: Browser, key: str, settings: Settings
) -> None:
    browser.sign_in(api_key=key)
    token = credential.sign_token(settings, tenant="other", key_id="k", scopes=SCOPES)
    bearer = {"Authorization": f"Bearer {token}", "Origin": "https://evil.example"}

    assert browser("POST", "/v1/tasks", json={"goal": "compute 1 + 1"}, headers=bearer).status_code == 202
    assert browser("GET", "/v1/auth/session", headers=bearer).json["tenant"] == "other"
    assert browser("GET", "/v1/arms", headers={"Authorization": "Bearer x.y.z"}).status_code == 401


def test_an_allowed_origin_can_use_tokens_but_no_session(settings: Settings, key: str) -> None:
    browser = Browser(create_app(replace(settings, cors_origins=("https://app.example.com",))))
    browser.sign_in(api_key=key)
    theirs = {"Origin": "https://app.example.com"}

    read = browser("GET", "/v1/tasks", headers=theirs)
    written = browser("POST", "/v1/tasks", json={"goal": "compute 1 + 1"}, headers=theirs)

    # without this header a browser gives a page no answer to a request with cookies
    assert "Access-Control-Allow-Credentials" not in read.headers
    assert written.status_code == 403


def test_a_wrong_key_opens_no_session(browser: Browser, key: str) -> None:
    for wrong in (key[:-1] + ("a" if key[-1] != "a" else "b"), "x", ""):
        answer = browser.sign_in(api_key=wrong)
        assert_problem(answer, 401, "invalid_credential")
        assert not answer.headers.getlist("Set-Cookie")
    for body in (
        {},
        {"api_key": key, "code": "x"},
        {"api_key": 1},
        {"password": "x"},
        {"api_key": "x" * 201},
    ):
        assert browser("POST", "/v1/auth/session", json=body).status_code == 422, body
    assert browser("POST", "/v1/auth/session", data={"api_key": key}).status_code == 415
    assert_problem(browser("GET", "/v1/auth/session"), 401, "missing_auth")


def test_wrong_keys_count_as_failed_credentials(settings: Settings, key: str) -> None:
    browser = Browser(create_app(replace(settings, failed_auth_limit=Rate(2, 3600))))

    statuses = [browser.sign_in(api_key="x").status_code for _ in range(3)]

    assert statuses == [401, 401, 429]
    assert browser.sign_in(api_key=key).status_code == 201


def test_a_session_ends_when_its_key_is_revoked(
    engine: Engine, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(auth, "REVOCATION_SECONDS", 0)
    browser = Browser(create_app(settings))
    key_id, text = make_key(engine)
    browser.sign_in(api_key=text)
    assert browser("GET", "/v1/arms").status_code == 200

    with transaction(engine) as conn:
        keys.revoke(conn, key_id)

    for path in ("/v1/arms", "/v1/auth/session"):
        assert_problem(browser("GET", path), 401, "invalid_credential")


def test_a_session_has_its_key_s_scopes(engine: Engine, browser: Browser) -> None:
    browser.sign_in(api_key=make_key(engine, scopes=("arm:list",))[1])

    assert browser("GET", "/v1/arms").status_code == 200
    assert_problem(browser("GET", "/v1/tasks"), 403, "insufficient_permissions")


def test_a_session_is_as_short_as_tokens_must_be(settings: Settings, key: str) -> None:
    browser = Browser(create_app(replace(settings, jwt_ttl_seconds=60, jwt_max_age_seconds=600)))

    assert int(cookie_of(browser.sign_in(api_key=key))["max-age"]) == 600


def test_sessions_have_a_rate_limit_of_their_own(settings: Settings, key: str) -> None:
    app = create_app(replace(settings, rate_limit=Rate(2, 3600), session_rate_limit=Rate(4, 3600)))
    browser = Browser(app)
    browser.sign_in(api_key=key)

    statuses = [browser("GET", "/v1/arms").status_code for _ in range(5)]
    # signing in took one of the key's two calls
    exchanged = app.test_client().post("/v1/auth/token", headers={"X-API-Key": key})

    assert statuses == [200, 200, 200, 200, 429]
    assert exchanged.status_code == 200
    assert exchanged.headers["X-RateLimit-Remaining"] == "0"


def test_signing_out_removes_the_cookie(browser: Browser, key: str) -> None:
    browser.sign_in(api_key=key)

    answer = browser("DELETE", "/v1/auth/session")

    assert answer.status_code == 204
    assert int(cookie_of(answer)["max-age"]) == 0
    assert_problem(browser("GET", "/v1/arms"), 401, "missing_auth")
    assert browser("DELETE", "/v1/auth/session").status_code == 204


def test_signing_in_replaces_a_planted_session(browser: Browser, key: str, settings: Settings) -> None:
    planted = credential.sign_token(settings, tenant="evil", key_id="k", scopes=SCOPES)
    browser.plant(planted)

    answer = browser.sign_in(api_key=key)

    assert cookie_of(answer).value != planted
    assert browser("GET", "/v1/auth/session").json["tenant"] == "acme"


@pytest.mark.parametrize("planted", ["x", "x.y.z", "octo_live_x_y", "a" * 4000, '"', "a b"])
def test_a_cookie_that_is_no_token_of_ours_is_refused(browser: Browser, planted: str) -> None:
    browser.plant(planted)

    assert browser("GET", "/v1/tasks").status_code == 401


def test_the_cookie_counts_nowhere_but_where_tokens_do(app: Flask, browser: Browser, key: str) -> None:
    browser.sign_in(api_key=key)
    browser_with_key = Browser(app)
    browser_with_key.plant(key)

    assert_problem(browser("POST", "/v1/auth/token"), 401, "missing_auth")
    # an API key as cookie is neither a session nor exchanged for a token
    assert browser_with_key("POST", "/v1/auth/token").status_code == 401
    assert_problem(browser_with_key("GET", "/v1/arms"), 401, "invalid_credential")


def test_the_cookie_is_no_metrics_token(settings: Settings) -> None:
    secret = "a token for the metrics"
    browser = Browser(create_app(replace(settings, metrics_token=secret)))
    browser.plant(secret)

    assert browser("GET", "/metrics").status_code == 401


def test_a_stream_opens_with_the_cookie_from_our_own_page_only(
    api: Api, engine: Engine, engineer: Engineer
) -> None:
    task_id = engineer.start(wait_step("a"))
    token = api.token()
    port = api.url.rpartition(":")[2]
    cookie = {"Cookie": f"octollm_session_{port}={token}"}

    with api.open(task_id, token="", headers={**cookie, "Origin": api.url}) as stream:
        assert stream.next()["type"] == "task.submitted"
    for origin in ({}, {"Origin": "http://evil.example"}, {"Origin": f"http://evil.example:{port}"}):
        with pytest.raises(Rejected) as refused:
            api.open(task_id, token="", headers={**cookie, **origin})
        assert refused.value.status == 403


def code_of(settings: Settings, redis_url: str, **who: Any) -> str:
    """Return a new code."""
    link = sign_in_link("http://x", settings, redis_url=redis_url, **who)  # type: ignore[arg-type]  # a superset
    return link.partition("#code=")[2]


def test_a_link_signs_in_once(browser: Browser, settings: Settings, redis_url: str) -> None:
    code = code_of(settings, redis_url)

    first = browser.sign_in(code=code)
    browser.forget()
    second = browser.sign_in(code=code)

    assert (first.status_code, first.json["tenant"], "admin" in first.json["scopes"]) == (201, "local", True)
    assert_problem(second, 401, "invalid_credential")
    assert not second.headers.getlist("Set-Cookie")


def test_redis_holds_no_code_and_a_planted_one_is_refused(
    browser: Browser, settings: Settings, redis_url: str
) -> None:
    code = code_of(settings, redis_url, scopes=("task:read",))
    with redis.Redis.from_url(redis_url) as client:
        (name,) = client.keys("octollm:sign-in:*")
        stored = client.get(name)
        assert code.encode() not in name + stored
        assert 0 < client.ttl(name) <= sign_in_code.CODE_SECONDS
        # who may write to Redis can neither make a code, nor change one, nor move one
        forged = stored.replace(b"task:read", b"admin")
        client.set(name, forged)
        own = b"octollm:sign-in:" + hashlib.sha256(b"mine").hexdigest().encode()
        client.set(own, stored)
        unsigned = {"tenant": "local", "key_id": "x", "scopes": ["admin"], "expires_at": time.time() + 60}
        bare = b"octollm:sign-in:" + hashlib.sha256(b"bare").hexdigest().encode()
        client.set(bare, b"\0" * 32 + json.dumps(unsigned).encode())

    for attempt in (code, "mine", "bare", "guessed", ""):
        assert_problem(browser.sign_in(code=attempt), 401, "invalid_credential")


def test_a_code_ends_after_its_time_even_if_redis_kept_it(settings: Settings, redis_url: str) -> None:
    secret = credential.sign_in_secret(settings)
    with redis.Redis.from_url(redis_url) as client, pytest.MonkeyPatch.context() as patch:
        patch.setattr(sign_in_code, "CODE_SECONDS", -1)
        patch.setattr(client, "set", lambda name, value, ex: redis.Redis.set(client, name, value))
        code = sign_in_code.issue(client, tenant="local", key_id="x", scopes=SCOPES, secret=secret)

        with pytest.raises(InvalidCredential):
            sign_in_code.redeem(client, code, secret=secret)


def test_the_command_prints_a_link_for_a_tenant(browser: Browser, octollm: Octollm) -> None:
    status, link = octollm("console", "--tenant", "acme", "--scopes", "task:read, arm:list")
    refused, why = octollm("console", "--scopes", "everything")

    assert status == 0
    assert "/sign-in#code=" in link
    session = browser.sign_in(code=link.strip().partition("#code=")[2]).json
    assert (session["tenant"], session["scopes"]) == ("acme", ["arm:list", "task:read"])
    assert refused != 0
    assert "everything" in why


def test_sign_ins_are_in_the_audit_log(
    settings: Settings, engineer: Engineer, key: str, empty_audit_log: None
) -> None:
    # the other tests' app has denied so much that it records no more of it for a while
    app = create_app(settings)
    browser = Browser(app)
    browser.sign_in(api_key=key)
    browser.sign_in(api_key=key[:-4] + "0000")
    browser("DELETE", "/v1/auth/session")
    audit.buffer_of(app).flush()

    entries = engineer.ask("SELECT action, outcome, tenant FROM audit_log")
    assert sorted((one["action"], one["outcome"], one["tenant"]) for one in entries if one["tenant"]) == [
        ("session.close", "allowed", "acme"),
        ("session.open", "allowed", "acme"),
    ]
    assert [(one["action"], one["outcome"]) for one in entries if not one["tenant"]] == [
        ("session.open", "denied")
    ]
