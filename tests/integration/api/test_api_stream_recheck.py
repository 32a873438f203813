"""A stream ends when its caller loses access: a revoked key, an expired token, a missing scope."""

import json
from collections.abc import Iterator
from dataclasses import replace
from threading import Thread
from typing import Any

import pytest
from sqlalchemy import Engine

from api.middleware import auth
from api.streaming import admission
from orchestrator.auth.credential import Principal
from orchestrator.chord.database import transaction
from orchestrator.memory import keys
from orchestrator.models.errors import Forbidden
from orchestrator.settings import Settings
from tests.integration.api.live_server import Api, serving
from tests.integration.kit import TENANT, Engineer, wait_step
from tests.waiting import wait_until

SSE = {"Accept": "text/event-stream"}
PROTOCOLS = ["ws", "sse", "sse-ticket", "poll"]


@pytest.fixture
def short_intervals(monkeypatch: pytest.MonkeyPatch) -> None:
    """Access is rechecked after a moment, and nothing is cached."""
    monkeypatch.setattr(admission, "RECHECK_SECONDS", 0.1)
    monkeypatch.setattr(auth, "REVOCATION_SECONDS", 0)


@pytest.fixture(scope="module")
def api(settings: Settings) -> Iterator[Api]:
    """An API server."""
    with serving(replace(settings, jwt_ttl_seconds=600)) as running:
        yield running


@pytest.fixture
def task_id(engineer: Engineer) -> str:
    """A running task with four events."""
    return engineer.start(wait_step("a"))


def make_key(engine: Engine) -> tuple[str, str]:
    with transaction(engine) as conn:
        record, text = keys.create(conn, tenant=TENANT, scopes=["all"])
    return record.id, text


def token_for(api: Api, key: str) -> str:
    status, _, body = api.post("/v1/auth/token", {"X-API-Key": key, "Authorization": ""})
    assert status == 200
    return str(json.loads(body)["access_token"])


def test_no_stream_outlives_a_revocation_by_more_than_25_seconds() -> None:
    assert admission.RECHECK_SECONDS + auth.REVOCATION_SECONDS <= 25


@pytest.mark.usefixtures("short_intervals")
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_stream_ends_when_its_key_is_revoked(api: Api, engine: Engine, task_id: str, protocol: str) -> None:
    key_id, text = make_key(engine)
    bearer = {"Authorization": f"Bearer {token_for(api, text)}"}
    ended: list[Any] = []

    def listen() -> None:
        if protocol == "ws":
            with api.open(task_id, token="", headers=bearer) as stream:
                stream.rest(timeout=20)
            ended.append(stream.close_code)
        elif protocol == "poll":
            ended.append(api.get(f"/v1/tasks/{task_id}?wait=30", bearer)[0])
        elif protocol == "sse":
            ended.append(api.get(f"/v1/tasks/{task_id}/events", {**SSE, **bearer})[0])
        else:
            ticket = json.loads(api.post(f"/v1/tasks/{task_id}/stream-ticket", bearer)[2])["ticket"]
            path = f"/v1/tasks/{task_id}/events?ticket={ticket}"
            ended.append(api.get(path, {**SSE, "Authorization": ""})[0])

    listener = Thread(target=listen)
    listener.start()
    wait_until(lambda: api.hub.streams == 1, 10, "the stream")

    with transaction(engine) as conn:
        keys.revoke(conn, key_id)
    listener.join(20)

    assert ended == [{"ws": 4401, "poll": 401}.get(protocol, 200)]
    wait_until(lambda: api.hub.streams == 0, 10, "its slot to be released")


@pytest.mark.usefixtures("short_intervals")
def test_a_stream_of_a_valid_key_continues(api: Api, task_id: str) -> None:
    checks: list[str] = []
    cache = auth.revocation_cache_of(api.app)
    required = cache.require

    def count(key_id: str) -> None:
        checks.append(key_id)
        required(key_id)

    cache.require = count  # type: ignore[method-assign]  # counts the calls and passes them on
    try:
        with api.open(task_id, "?after=4") as stream:
            wait_until(lambda: len(checks) >= 4, 10, "several checks")
            stream.say({"type": "ping"})

            assert stream.next(timeout=5) == {"type": "pong"}
    finally:
        cache.require = required  # type: ignore[method-assign]


@pytest.mark.parametrize("protocol", ["ws", "sse", "poll"])
def test_a_stream_ends_with_its_token(api: Api, task_id: str, protocol: str) -> None:
    bearer = {"Authorization": f"Bearer {api.token(ttl=2)}"}

    if protocol == "ws":
        with api.open(task_id, token="", headers=bearer) as stream:
            stream.rest(timeout=20)
        assert stream.close_code == 4401
    elif protocol == "sse":
        assert api.get(f"/v1/tasks/{task_id}/events", {**SSE, **bearer})[0] == 200
    else:
        assert api.get(f"/v1/tasks/{task_id}?wait=30", bearer)[0] == 401


def test_access_ends_without_the_scope(api: Api) -> None:
    caller = Principal(TENANT, "tests", frozenset({"arm:list"}), subject="tests")

    with api.app.app_context(), pytest.raises(Forbidden):
        admission.AccessRecheck(caller, "task:read", is_checked=False).require()
