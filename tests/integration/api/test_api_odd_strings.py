"""Unusual characters in a token's claims, a header, a path or a query cause a 4xx, never a 5xx."""

import base64
import json
import time
from typing import Any

import jwt
import pytest
from flask import Flask
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.auth.credential import SCOPES, sign_token
from orchestrator.settings import Settings
from tests.integration.api.assertions import assert_problem
from tests.integration.api.conftest import Caller
from tests.integration.kit import TENANT

EXPLORE = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
ODD = ["\0", "a\0b", "\ud800", "a\udfffb", "x" * 3000, "", " ", "\n", "é", "😀", "\x7f", "..", "%00"]
TASK = "task_0000000000000000"
APPROVAL = "appr_0000000000000000"
DECISION = {"decision": "approve", "proposal_hash": "0" * 64}
CALLS: list[tuple[str, str, dict[str, Any]]] = [
    ("GET", "/v1/tasks", {}),
    ("POST", "/v1/tasks", {"json": {"goal": "do it"}, "headers": {"Idempotency-Key": "k"}}),
    ("POST", "/v1/files", {"data": b"content"}),
    ("GET", f"/v1/tasks/{TASK}/events", {}),
    ("POST", f"/v1/tasks/{TASK}/stream-ticket", {}),
    ("DELETE", f"/v1/tasks/{TASK}", {}),
    ("GET", "/v1/dead-steps", {}),
    ("GET", "/v1/arms", {}),
    ("GET", "/v1/approvals", {}),
    ("POST", f"/v1/approvals/{APPROVAL}/decision", {"json": DECISION, "headers": {"Idempotency-Key": "k"}}),
    ("POST", "/v1/approval-links/a.b", {"json": {"decision": "approve"}}),
]


def token_of(chosen: Settings, **changed: Any) -> str:
    """Sign a token with changed claims."""
    now = int(time.time())
    claims = {
        "iss": chosen.jwt_issuer,
        "aud": chosen.jwt_audience,
        "sub": "acme/k",
        "iat": now,
        "exp": now + 600,
        "tenant": TENANT,
        "key_id": "k",
        "scopes": list(SCOPES),
        **changed,
    }
    return jwt.PyJWS().encode(json.dumps(claims).encode(), chosen.jwt_secret, algorithm="HS256")


def statuses(app: Flask, token: str) -> set[int]:
    call = Caller(app, token)
    return {call(method, path, **request).status_code for method, path, request in CALLS}


@pytest.mark.parametrize("claim", ["tenant", "key_id", "sub"])
@pytest.mark.parametrize("text", ["\0", "a\0b", "\ud800", "a\udfffb", "x" * 3000, "\n"])
def test_a_claim_that_cannot_be_stored_is_refused(
    app: Flask, settings: Settings, claim: str, text: str
) -> None:
    answer = Caller(app, token_of(settings, **{claim: text}))("POST", "/v1/tasks", json={"goal": "do it"})

    assert_problem(answer, 401, "invalid_credential")


@pytest.mark.parametrize("scope", ["task:submit\0", "\ud800"])
def test_a_scope_that_cannot_be_stored_is_refused(app: Flask, settings: Settings, scope: str) -> None:
    token = token_of(settings, scopes=[*SCOPES, scope])

    assert_problem(Caller(app, token)("POST", "/v1/tasks", json={"goal": "do it"}), 401, "invalid_credential")


@pytest.mark.parametrize("claim", ["exp", "iat", "nbf"])
@pytest.mark.parametrize("value", [float("inf"), float("nan"), [], {}, "soon", None, -1, True])
def test_a_malformed_time_is_refused(app: Flask, settings: Settings, claim: str, value: Any) -> None:
    assert max(statuses(app, token_of(settings, **{claim: value}))) < 500


def test_an_expiry_beyond_the_calendar_is_refused(app: Flask, settings: Settings) -> None:
    call = Caller(app, token_of(settings, exp=10**400))

    assert_problem(call("POST", "/v1/tasks", json={"goal": "do it"}), 401, "invalid_credential")


@pytest.mark.parametrize(
    "part", [b"[" * 5000, b'{"alg": "HS256", "kid": ' + b"[" * 5000, b"\xff\xfe", b"9" * 5000]
)
def test_a_malformed_token_header_is_refused(app: Flask, part: bytes) -> None:
    head = base64.urlsafe_b64encode(part).rstrip(b"=").decode()

    assert_problem(Caller(app, f"{head}.e30.AAAA")("GET", "/v1/tasks"), 401, "invalid_credential")


@given(
    claim=st.sampled_from(
        ["tenant", "key_id", "sub", "scopes", "scope", "exp", "iat", "nbf", "aud", "iss", "jti"]
    ),
    value=st.one_of(
        st.sampled_from(ODD),
        st.text(st.characters(), max_size=20),
        st.integers(),
        st.floats(),
        st.booleans(),
        st.none(),
        st.lists(st.one_of(st.sampled_from(ODD), st.integers(), st.none()), max_size=3),
        st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
    ),
)
@EXPLORE
def test_no_claim_causes_a_server_error(app: Flask, settings: Settings, claim: str, value: Any) -> None:
    assert max(statuses(app, token_of(settings, **{claim: value}))) < 500


_HEADERS = [
    "ACCEPT", "ACCEPT_ENCODING", "AUTHORIZATION", "CACHE_CONTROL", "CONTENT_ENCODING", "COOKIE", "EXPECT", "FORWARDED",
    "HOST", "IDEMPOTENCY_KEY", "IF_MATCH", "IF_MODIFIED_SINCE", "IF_NONE_MATCH", "IF_RANGE", "LAST_EVENT_ID", "ORIGIN",
    "RANGE", "REFERER", "SEC_WEBSOCKET_PROTOCOL", "TRANSFER_ENCODING", "UPGRADE", "USER_AGENT", "X_API_KEY",
    "X_FORWARDED_FOR", "X_FORWARDED_HOST", "X_FORWARDED_PROTO", "X_HTTP_METHOD_OVERRIDE", "X_REQUEST_ID",
]  # fmt: skip
# servers pass header bytes on as Latin-1 (PEP 3333)
_VALUES = st.one_of(
    st.text(st.characters(max_codepoint=255), max_size=30),
    st.sampled_from(["Bearer ", "Basic //8=", "bytes=9-1", 'W/"', "q=", "a;q=nan", "9" * 5000, "-1", "0x10", "١"]),
    st.sampled_from(["fe80::1%eth0", "::ffff:1.2.3.4", "1.2.3.4:5", "[::1]", "unknown", "a,b", "max-age=-1"]),
)  # fmt: skip


@given(header=st.sampled_from(_HEADERS), value=_VALUES, call=st.sampled_from(CALLS))
@EXPLORE
def test_no_header_causes_a_server_error(
    app: Flask, settings: Settings, header: str, value: str, call: tuple[str, str, dict[str, Any]]
) -> None:
    method, path, request = call
    token = sign_token(settings, tenant=TENANT, key_id="k", scopes=SCOPES)
    environ = {"HTTP_AUTHORIZATION": f"Bearer {token}", f"HTTP_{header}": value}

    answer = app.test_client().open(path, method=method, environ_overrides=environ, **request)

    assert answer.status_code < 500


@given(content_type=_VALUES, path=st.sampled_from(["/v1/tasks", "/v1/files"]), content=st.binary(max_size=40))
@EXPLORE
def test_no_content_type_causes_a_server_error(
    app: Flask, settings: Settings, content_type: str, path: str, content: bytes
) -> None:
    token = sign_token(settings, tenant=TENANT, key_id="k", scopes=SCOPES)

    for kind in (
        content_type,
        f"multipart/form-data; boundary={content_type}",
        f"application/json; {content_type}",
    ):
        answer = app.test_client().post(
            path,
            data=content,
            environ_overrides={"HTTP_AUTHORIZATION": f"Bearer {token}", "CONTENT_TYPE": kind},
        )
        assert answer.status_code < 500


_QUERIES = [
    "after",
    "assignee",
    "cursor",
    "filename",
    "limit",
    "state",
    "status",
    "task_id",
    "ticket",
    "wait",
]


@given(
    path=st.sampled_from(
        [
            "/v1/tasks",
            "/v1/tasks/{}",
            "/v1/tasks/{}/events",
            "/v1/tasks/{}/trace",
            "/v1/files/{}",
            "/{}",
            "/v1/approvals",
            "/v1/approvals/{}",
            "/v1/approvals/{}/link",
            "/v1/approval-links/{}",
        ]
    ),
    odd=st.one_of(
        st.sampled_from(["%00", "%ed%a0%80", "%ff", "%0a", "%2e%2e%2f", "", "\xe9"]), st.text(max_size=10)
    ),
    name=st.sampled_from(_QUERIES),
    value=st.one_of(
        st.sampled_from(["%00", "%ed%a0%80", "%ff", "9" * 5000, "-1", "nan", "%d9%a1"]), st.text(max_size=10)
    ),
)
@EXPLORE
def test_no_path_or_query_causes_a_server_error(
    app: Flask, settings: Settings, *, path: str, odd: str, name: str, value: str
) -> None:
    call = Caller(app, sign_token(settings, tenant=TENANT, key_id="k", scopes=SCOPES))
    shown = value if name != "wait" else "0"

    for method in ("GET", "POST", "DELETE"):
        answer = call(method, path.format(odd.replace("?", "")) + f"?{name}={shown}", data=b"x")
        assert answer.status_code < 500
