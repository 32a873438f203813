"""A stream ends when its caller may no longer read: the key was revoked, the token ended, the scope is missing."""

import json
from collections.abc import Iterator
from dataclasses import replace
from threading import Thread
from typing import Any

import pytest
from sqlalchemy import Engine

from api.middleware import auth, right
from orchestrator.auth.credential import Principal
from orchestrator.chord.database import transaction
from orchestrator.memory import keys
from orchestrator.models.errors import Forbidden
from orchestrator.settings import Settings
from tests.integration.api.live import Api, serving
from tests.integration.kit import TENANT, Engineer, wait_step
from tests.waiting import wait_until

SSE = {"Accept": "text/event-stream"}
WAYS = ["ws", "sse", "sse-ticket", "poll"]


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rights are asked for again after a moment, and nothing is remembered of them."""
    monkeypatch.setattr(right, "RECHECK_SECONDS", 0.1)
    monkeypatch.setattr(auth, "REVOCATION_SECONDS", 0)


@pytest.fixture(scope="module")
def api(settings: Settings) -> Iterator[Api]:
    """An API that listens."""
    with serving(replace(settings, jwt_ttl_seconds=600)) as running:
        yield running


@pytest.fixture
def task_id(engineer: Engineer) -> str:
    """A task that is under way, with four events."""
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
    assert right.RECHECK_SECONDS + auth.REVOCATION_SECONDS <= 25


@pytest.mark.usefixtures("soon")
@pytest.mark.parametrize("way", WAYS)
def test_a_stream_ends_when_its_key_is_revoked(api: Api, engine: Engine, task_id: str, way: str) -> None:
    key_id, text = make_key(engine)
    bearer = {"Authorization": f"Bearer {token_for(api, text)}"}
    ended: list[Any] = []

    def listen() -> None:
        if way == "ws":
            with api.open(task_id, token="", headers=bearer) as stream:
                stream.rest(timeout=20)
            ended.append(stream.close_code)
        elif way == "poll":
            ended.append(api.get(f"/v1/tasks/{task_id}?wait=30", bearer)[0])
        elif way == "sse":
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

    assert ended == [{"ws": 4401, "poll": 401}.get(way, 200)]
    wait_until(lambda: api.hub.streams == 0, 10, "its place to be free")


@pytest.mark.usefixtures("soon")
def test_a_stream_of_a_key_that_holds_goes_on(api: Api, task_id: str) -> None:
    checks: list[str] = []
    watch = auth.key_watch_of(api.app)
    required = watch.require

    def count(key_id: str) -> None:
        checks.append(key_id)
        required(key_id)

    watch.require = count  # type: ignore[method-assign]  # counts what goes through, and lets it through
    try:
        with api.open(task_id, "?after=4") as stream:
            wait_until(lambda: len(checks) >= 4, 10, "several checks")
            stream.say({"type": "ping"})

            assert stream.next(timeout=5) == {"type": "pong"}
    finally:
        watch.require = required  # type: ignore[method-assign]


@pytest.mark.parametrize("way", ["ws", "sse", "poll"])
def test_a_stream_ends_with_its_token(api: Api, task_id: str, way: str) -> None:
    bearer = {"Authorization": f"Bearer {api.token(ttl=2)}"}

    if way == "ws":
        with api.open(task_id, token="", headers=bearer) as stream:
            stream.rest(timeout=20)
        assert stream.close_code == 4401
    elif way == "sse":
        assert api.get(f"/v1/tasks/{task_id}/events", {**SSE, **bearer})[0] == 200
    else:
        assert api.get(f"/v1/tasks/{task_id}?wait=30", bearer)[0] == 401


def test_a_right_ends_with_its_scope(api: Api) -> None:
    caller = Principal(TENANT, "tests", frozenset({"arm:list"}), subject="tests")

    with api.app.app_context(), pytest.raises(Forbidden):
        right.Right(caller, "task:read", is_asked=False).require()
