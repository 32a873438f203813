"""Scripts of the origins in CORS_ORIGINS may call the API and read its responses; others may not."""

from dataclasses import replace

import pytest
from flask import Flask
from werkzeug.test import TestResponse

from api.app import create_app
from api.middleware import cors
from orchestrator.auth.credential import SCOPES, sign_token
from orchestrator.settings import Settings
from orchestrator.settings_text import Rate
from tests.integration.api.conftest import Caller
from tests.integration.kit import TENANT, Engineer, wait_step

PAGE = "https://app.example.com"
LOCAL = "http://[::1]:3000"
READABLE = {"X-Request-ID", "ETag", "Location", "Retry-After", "X-RateLimit-Remaining", "X-RateLimit-Reset"}


@pytest.fixture(scope="module")
def open_app(settings: Settings) -> Flask:
    """An app with two allowed origins and a limit of three calls an hour for each key."""
    return create_app(replace(settings, cors_origins=(PAGE, LOCAL), rate_limit=Rate(3, 3600)))


def caller_of(app: Flask, settings: Settings, key: str) -> Caller:
    return Caller(app, sign_token(settings, tenant=TENANT, key_id=key, scopes=SCOPES))


def preflight(app: Flask, path: str, *, origin: str = PAGE, method: str = "POST") -> TestResponse:
    """Send the preflight of a script's call with a token, as a browser does."""
    return app.test_client().options(
        path,
        headers={
            "Origin": origin,
            "Access-Control-Request-Method": method,
            "Access-Control-Request-Headers": "authorization, content-type, idempotency-key",
        },
    )


def listed(answer: TestResponse, header: str) -> set[str]:
    return {name.strip() for name in answer.headers.get(header, "").split(",") if name.strip()}


@pytest.mark.parametrize("origin", [PAGE, LOCAL])
@pytest.mark.parametrize(
    ("path", "method"),
    [
        ("/v1/tasks", "POST"),
        ("/v1/tasks/task_0000000000000000", "DELETE"),
        ("/v1/tasks/task_0000000000000000/events", "GET"),
        ("/v1/tasks/task_0000000000000000/stream", "GET"),
        ("/v1/auth/token", "POST"),
    ],
)
def test_a_preflight_is_answered_without_a_token(
    open_app: Flask, *, origin: str, path: str, method: str
) -> None:
    answer = preflight(open_app, path, origin=origin, method=method)

    assert answer.status_code == 204
    assert answer.headers["Access-Control-Allow-Origin"] == origin
    assert method in listed(answer, "Access-Control-Allow-Methods")
    assert listed(answer, "Access-Control-Allow-Headers") == {
        "authorization",
        "content-type",
        "idempotency-key",
    }
    assert int(answer.headers["Access-Control-Max-Age"]) > 0
    assert "Origin" in listed(answer, "Vary")
    assert "Access-Control-Allow-Credentials" not in answer.headers


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example.com",
        f"{PAGE}.evil.com",
        "http://app.example.com",
        f"{PAGE}:8443",
        "null",
        "http://:3000",
    ],
)
def test_another_origin_gets_no_cors_headers(open_app: Flask, settings: Settings, origin: str) -> None:
    asked = preflight(open_app, "/v1/tasks", origin=origin)
    read = caller_of(open_app, settings, origin)("GET", "/v1/tasks", headers={"Origin": origin})

    for answer in (asked, read):
        assert not [name for name, _ in answer.headers if name.startswith("Access-Control-")]
    assert read.status_code == 200


def test_preflights_are_not_rate_limited_and_a_429_is_readable(open_app: Flask, settings: Settings) -> None:
    call = caller_of(open_app, settings, "counted")
    for _ in range(10):
        preflight(open_app, "/v1/tasks")

    answers = [call("GET", "/v1/tasks", headers={"Origin": PAGE}) for _ in range(4)]

    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
    for answer in answers:
        assert answer.headers["Access-Control-Allow-Origin"] == PAGE
        assert listed(answer, "Access-Control-Expose-Headers") >= READABLE


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/v1/tasks", 401), ("GET", "/nowhere", 404), ("PUT", "/v1/tasks", 405), ("GET", "/health", 200)],
)
def test_every_response_is_readable(open_app: Flask, method: str, path: str, status: int) -> None:
    answer = open_app.test_client().open(path, method=method, headers={"Origin": PAGE})

    assert answer.status_code == status
    assert answer.headers["Access-Control-Allow-Origin"] == PAGE


def test_an_event_source_with_a_ticket_can_read_its_stream(
    open_app: Flask, settings: Settings, engineer: Engineer
) -> None:
    task_id = engineer.start(wait_step("a"))
    call = caller_of(open_app, settings, "streaming")
    links = call("POST", f"/v1/tasks/{task_id}/stream-ticket", headers={"Origin": PAGE}).json["links"]

    answer = open_app.test_client().get(
        links["events"], headers={"Origin": PAGE, "Accept": "text/event-stream"}, buffered=False
    )

    assert answer.mimetype == "text/event-stream"
    assert answer.headers["Access-Control-Allow-Origin"] == PAGE
    answer.close()


def test_without_origins_there_are_no_cors_headers(app: Flask) -> None:
    answer = app.test_client().get("/health", headers={"Origin": PAGE})

    assert not [name for name, _ in answer.headers if name.startswith("Access-Control-")]
    assert preflight(app, "/v1/tasks").headers.get("Access-Control-Allow-Origin") is None


def test_scripts_may_use_every_method_of_the_api(app: Flask) -> None:
    used = {method for rule in app.url_map.iter_rules() for method in rule.methods or ()}

    assert used - {"OPTIONS"} <= set(cors.METHODS)
