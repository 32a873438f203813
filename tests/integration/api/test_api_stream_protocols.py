"""Streams over WebSocket, SSE and long polling: authentication, tickets, client messages, handshakes."""

import hashlib
import json
import socket
import time
from collections import Counter
from threading import Thread
from typing import Any

import pytest
import redis
from sqlalchemy import Engine, event

from orchestrator import memory
from orchestrator.lifecycle import cancel
from orchestrator.memory.hints import CHANNEL, Hints
from orchestrator.models.verdict import Decision
from tests.integration.api.assertions import assert_problem
from tests.integration.api.conftest import AsCaller, Caller
from tests.integration.api.live_server import Api, EventWriter
from tests.integration.kit import TENANT, Engineer, verdict, wait_step
from tests.waiting import wait_until
from tests.ws import Cut, Rejected

SSE = {"Accept": "text/event-stream"}


@pytest.fixture
def task_id(engineer: Engineer) -> str:
    """A running task with four events."""
    started = engineer.start(wait_step("a"))
    assert len(engineer.events(started)) == 4
    return started


def refusal(api: Api, task_id: str, query: str = "", **how: Any) -> tuple[int, str]:
    with pytest.raises(Rejected) as refused:
        api.open(task_id, query, **how)
    problem = json.loads(refused.value.body)
    assert refused.value.headers["content-type"] == "application/problem+json"
    assert problem["status"] == refused.value.status
    return refused.value.status, problem["code"]


def test_an_unauthorized_stream_is_refused_before_the_upgrade(api: Api, task_id: str) -> None:
    assert refusal(api, task_id, token="") == (401, "missing_auth")
    assert refusal(api, task_id, token="x.y.z") == (401, "invalid_credential")
    assert refusal(api, task_id, "?ticket=x", token="") == (401, "invalid_credential")
    assert refusal(api, task_id, token=api.token(scopes=("arm:list",))) == (403, "insufficient_permissions")
    assert refusal(api, task_id, token=api.token(tenant="umbrella")) == (404, "resource_not_found")
    assert refusal(api, "task_0000000000000000") == (404, "resource_not_found")
    assert refusal(api, task_id, "?after=-1") == (422, "validation_error")
    assert refusal(api, task_id, "?after=5") == (409, "cursor_ahead")


def test_a_token_may_be_sent_as_api_key_or_subprotocol(api: Api, task_id: str) -> None:
    offered = ["octollm.v1", f"bearer.{api.token()}"]

    with api.open(task_id, token="", headers={"X-API-Key": api.token()}) as first:
        assert first.next()["seq"] == 1
        assert first.subprotocol is None
    with api.open(task_id, token="", subprotocols=offered) as second:
        assert second.next()["seq"] == 1
        assert second.subprotocol == "octollm.v1"


@pytest.mark.parametrize("how", ["ws", "sse"])
def test_a_ticket_opens_its_own_task_once(
    api: Api, call: Caller, engineer: Engineer, task_id: str, how: str
) -> None:
    other = engineer.start(wait_step("a"))

    def ticket() -> str:
        answer = call("POST", f"/v1/tasks/{task_id}/stream-ticket")
        assert (answer.status_code, answer.json["expires_in"]) == (201, 30)
        return str(answer.json["ticket"])

    used = ticket()

    if how == "ws":
        with api.open(task_id, f"?ticket={used}", token="") as stream:
            assert stream.next()["seq"] == 1
    else:
        path = f"/v1/tasks/{task_id}/events?limit=1&ticket={used}"
        assert json.loads(api.get(path, {"Authorization": ""})[2])["events"][0]["seq"] == 1
    assert refusal(api, task_id, f"?ticket={used}", token="") == (401, "invalid_credential")
    assert refusal(api, other, f"?ticket={ticket()}", token="") == (401, "invalid_credential")


def test_a_ticket_is_stored_hashed_for_half_a_minute(call: Caller, task_id: str, redis_url: str) -> None:
    ticket = call("POST", f"/v1/tasks/{task_id}/stream-ticket").json["ticket"]

    with redis.Redis.from_url(redis_url, decode_responses=True) as client:
        (key,) = client.keys("octollm:ticket:*")
        assert 0 < client.ttl(key) <= 30
    assert ticket not in key


def test_write_access_to_redis_cannot_forge_or_change_a_ticket(
    api: Api, call: Caller, task_id: str, redis_url: str
) -> None:
    bearer = {
        "tenant": "acme",
        "key_id": "k",
        "scopes": ["admin"],
        "subject": "acme/k",
        "expires_at": None,
        "task_id": task_id,
    }
    text = json.dumps(bearer).encode()

    def plant(value: bytes) -> str:
        with redis.Redis.from_url(redis_url) as client:
            client.set(f"octollm:ticket:{hashlib.sha256(b'forged').hexdigest()}", value)
        return "?ticket=forged"

    mine = call("POST", f"/v1/tasks/{task_id}/stream-ticket").json["ticket"]
    with redis.Redis.from_url(redis_url) as client:
        sealed = client.get(f"octollm:ticket:{hashlib.sha256(mine.encode()).hexdigest()}")
    assert isinstance(sealed, bytes)
    for forged in (
        text,
        b"\0" * 32 + text,
        sealed[:32] + text,
        # a valid ticket under another key
        sealed,
        b"",
        b"\xff" * 40,
    ):
        assert refusal(api, task_id, plant(forged), token="") == (401, "invalid_credential")


def test_a_ticket_is_issued_only_for_a_readable_task(as_caller: AsCaller, task_id: str) -> None:
    path = f"/v1/tasks/{task_id}/stream-ticket"

    assert_problem(as_caller("umbrella")("POST", path), 404, "resource_not_found")
    assert_problem(as_caller("acme", ("task:submit",))("POST", path), 403, "insufficient_permissions")


def test_a_stream_ends_with_its_token(api: Api, task_id: str) -> None:
    with api.open(task_id, token=api.token(ttl=2)) as stream:
        stream.rest(timeout=5)

    assert stream.close_code == 4401


def test_a_ticket_s_stream_ends_with_the_token_that_issued_it(api: Api, task_id: str) -> None:
    short = {"Authorization": f"Bearer {api.token(ttl=2)}"}
    _, _, made = api.post(f"/v1/tasks/{task_id}/stream-ticket", headers=short)

    with api.open(task_id, f"?ticket={json.loads(made)['ticket']}", token="") as stream:
        stream.rest(timeout=5)

    assert stream.close_code == 4401


def test_a_client_may_send_a_ping_message(api: Api, task_id: str) -> None:
    with api.open(task_id, "?after=4") as stream:
        stream.say({"type": "ping"})

        assert stream.next(timeout=5) == {"type": "pong"}


def test_a_client_may_cancel_and_sees_the_end(api: Api, task_id: str) -> None:
    with api.open(task_id, "?after=4") as stream:
        stream.say({"type": "cancel"})
        messages = stream.rest(timeout=5)

    assert messages[-1]["type"] == "task.cancelled"
    assert stream.close_code == 1000


def test_a_cancel_without_the_scope_is_an_error_and_the_stream_continues(
    api: Api, task_id: str, event_writer: EventWriter
) -> None:
    with api.open(task_id, "?after=4", token=api.token(scopes=("task:read",))) as stream:
        stream.say({"type": "cancel"})
        answer = stream.next(timeout=5)
        event_writer.append(task_id, "step.progress")

        assert (answer["type"], answer["error"]["code"]) == ("error", "insufficient_permissions")
        assert stream.next(timeout=5)["seq"] == 5


@pytest.mark.parametrize(
    ("message", "code"),
    [("hello", 1008), ('{"type": "dance"}', 1008), ("[]", 1008), ("[" * 4000, 1008), ("x" * 5000, 1009)],
    ids=lambda message: str(message)[:20],
)
def test_a_malformed_message_closes_the_stream(api: Api, task_id: str, message: str, code: int) -> None:
    with api.open(task_id, "?after=4") as stream:
        stream.say(message)
        stream.rest(timeout=5)

    assert stream.close_code == code


def test_too_many_messages_close_the_stream(api: Api, task_id: str) -> None:
    """The server counts unread messages, and waits some time for a client that reads no replies."""
    with api.open(task_id, "?after=4", receive_buffer=4096) as stream:
        try:
            for _ in range(100_000):
                stream.say({"type": "ping"})
        except OSError:
            return
        # what the server did not read makes the kernel drop its close frame
        try:
            stream.rest(timeout=20)
        except (ConnectionError, Cut):
            return

    assert stream.close_code in {1008, 1013}


def test_compression_is_not_negotiated(api: Api, task_id: str) -> None:
    host, port = api.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=5) as link:
        link.sendall(
            f"GET /v1/tasks/{task_id}/stream HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
            f"Sec-WebSocket-Extensions: permessage-deflate\r\nAuthorization: Bearer {api.token()}\r\n\r\n".encode()
        )
        head = link.recv(4096).partition(b"\r\n\r\n")[0].lower()

    assert head.startswith(b"http/1.1 101")
    assert b"sec-websocket-extensions" not in head


@pytest.mark.parametrize(
    "changed", [{"Sec-WebSocket-Version": "8"}, {"Sec-WebSocket-Key": ""}, {"Host": "a..b"}], ids=str
)
def test_a_malformed_handshake_is_a_400(api: Api, task_id: str, changed: dict[str, str]) -> None:
    headers = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    } | changed

    status, _, body = api.get(f"/v1/tasks/{task_id}/stream", headers)

    assert (status, json.loads(body)["code"]) == (400, "bad_request")


def test_a_request_without_an_upgrade_is_a_426(call: Caller, task_id: str) -> None:
    answer = call("GET", f"/v1/tasks/{task_id}/stream")

    assert_problem(answer, 426, "upgrade_required")
    assert answer.headers["Upgrade"] == "websocket"


def test_server_sent_events_continue_after_the_last_event_id(api: Api, engineer: Engineer) -> None:
    task_id = judged(engineer)
    path = f"/v1/tasks/{task_id}/events"

    status, headers, sent = api.get(f"{path}?after=1", {**SSE, "Last-Event-ID": "3"})
    last = len(engineer.events(task_id))
    after_the_end = api.get(path, {**SSE, "Last-Event-ID": str(last)})

    assert status == 200
    assert headers["Content-Type"].startswith("text/event-stream")
    assert sent.startswith("retry: 1000\n\nid: 4\ndata: {")
    assert after_the_end[0] == 204
    assert api.get(path, {**SSE, "Last-Event-ID": "x"})[0] == 422
    assert api.get(path, {**SSE, "Last-Event-ID": str(last + 1)})[0] == 409


def test_server_sent_events_are_live_and_end_with_the_task(
    api: Api, task_id: str, event_writer: EventWriter
) -> None:
    received: list[str] = []
    listener = Thread(target=lambda: received.append(api.get(f"/v1/tasks/{task_id}/events", SSE)[2]))
    listener.start()
    wait_until(lambda: api.hub.streams == 1, 5, "the stream")

    event_writer.append(task_id, "step.progress")
    event_writer.append(task_id, "task.failed")
    listener.join(5)

    ids = [int(line[4:]) for line in received[0].splitlines() if line.startswith("id: ")]
    assert ids == [1, 2, 3, 4, 5, 6]


def test_a_task_can_be_waited_for(api: Api, engineer: Engineer) -> None:
    task_id = engineer.start(wait_step("a"))
    answers: list[Any] = []
    waiter = Thread(target=lambda: answers.append(api.get(f"/v1/tasks/{task_id}?wait=20")))
    waiter.start()
    wait_until(lambda: api.hub.streams == 1, 5, "the waiting caller")
    api.post(f"/v1/tasks/{task_id}/cancel")
    waiter.join(5)

    status, _, body = answers[0]

    assert (status, json.loads(body)["status"]) == (200, "cancelled")


def test_who_waits_for_the_end_costs_nothing_before_it(
    api: Api, task_id: str, engineer: Engineer, event_writer: EventWriter, redis_url: str
) -> None:
    read: Counter[str] = Counter()
    names = {memory.tasks._SQL["find_task"]: "find_task"}
    names |= {memory.events._SQL["read_after"]: "read_after"}

    def count(_conn: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        # callers that an earlier test left waiting read their own tasks
        if task_id not in f"{statement} {parameters}":
            return
        is_steps = "EXECUTE octollm_steps_of" in statement
        read["steps_of" if is_steps else names.get(statement, "other")] += 1

    answers: list[Any] = []
    waiter = Thread(target=lambda: answers.append(api.get(f"/v1/tasks/{task_id}?wait=30")))
    with redis.Redis.from_url(redis_url) as client, client.pubsub(ignore_subscribe_messages=True) as heard:
        heard.subscribe(CHANNEL)
        heard.get_message(timeout=5)
        event.listen(Engine, "before_cursor_execute", count)
        try:
            waiter.start()
            wait_until(lambda: api.hub.threads()["hints"]["succeeded_at"], 5, "the hub to listen")
            # as the request began, and once it was subscribed
            wait_until(lambda: read["find_task"] == 2, 5, "the waiting caller")
            read.clear()
            for _ in range(20):
                event_writer.append(task_id, "step.progress")
                wait_until(lambda: heard.get_message(timeout=0.1), 5, "the hint")
            cancel.cancel(engineer.engine, tenant=TENANT, task_id=task_id)
            Hints(redis_url).end(task_id)
            waiter.join(10)
        finally:
            event.remove(Engine, "before_cursor_execute", count)

    assert (answers[0][0], json.loads(answers[0][2])["status"]) == (200, "cancelled")
    # one read of the task, by the caller that was woken; events are read when hints may have been lost
    assert read["steps_of"] == 1
    assert read["find_task"] <= 2
    assert read["read_after"] <= 1


def test_a_stream_that_joins_a_waiting_caller_misses_no_event(
    api: Api, task_id: str, event_writer: EventWriter
) -> None:
    waiter = Thread(target=lambda: api.get(f"/v1/tasks/{task_id}?wait=20"))
    waiter.start()
    wait_until(lambda: api.hub.streams == 1, 5, "the waiting caller")
    event_writer.append(task_id, "step.progress", hint=False)
    with api.open(task_id) as stream:
        event_writer.append(task_id, "task.failed")

        assert [frame["seq"] for frame in stream.rest()] == [1, 2, 3, 4, 5, 6]
    api.post(f"/v1/tasks/{task_id}/cancel")
    waiter.join(10)


def test_a_change_can_be_waited_for_by_etag(
    api: Api, task_id: str, engineer: Engineer, event_writer: EventWriter
) -> None:
    path = f"/v1/tasks/{task_id}"
    _, headers, _ = api.get(path)
    known = {"If-None-Match": headers["ETag"]}
    started = time.monotonic()

    unchanged = api.get(f"{path}?wait=1", known)
    waited = time.monotonic() - started
    answers: list[Any] = []
    waiter = Thread(target=lambda: answers.append(api.get(f"{path}?wait=20", known)))
    waiter.start()
    wait_until(lambda: api.hub.streams == 1, 5, "the waiting caller")
    engineer.do(task_id, "a")
    event_writer.hint(task_id)
    waiter.join(5)

    assert headers["ETag"].startswith('"')
    assert (unchanged[0], unchanged[2]) == (304, "")
    assert waited >= 1
    assert api.get(path, known)[0] == 200
    assert answers[0][0] == 200
    assert answers[0][1]["ETag"] != headers["ETag"]


@pytest.mark.parametrize("wait", ["-1", "31", "x", "1.5"])
def test_an_invalid_wait_is_refused(call: Caller, task_id: str, wait: str) -> None:
    assert_problem(call("GET", f"/v1/tasks/{task_id}?wait={wait}"), 422, "validation_error")


def judged(engineer: Engineer) -> str:
    task_id = engineer.start(wait_step("a"))
    engineer.do(task_id, "a")
    engineer.judge(task_id, verdict(Decision.PASSED))
    return task_id
