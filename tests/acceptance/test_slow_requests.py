"""Requests that are sent slowly occupy no thread of the API, and end at a deadline."""

import http.client
import json
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from secrets import token_hex

import pytest

from api.middleware.request_receiver import HEAD_SECONDS, MAX_RECEIVING_PER_ADDRESS
from orchestrator import settings
from orchestrator.auth.credential import SCOPES, sign_token
from tests.acceptance import web
from tests.acceptance.plans import wait
from tests.waiting import wait_until

CROWD = 300
PROMPT_SECONDS = 2
TASK = {"goal": "wait", "plan": {"steps": [wait("a")]}}
HALF_HEAD = b"POST /v1/tasks HTTP/1.1\r\nHost: a\r\nX-"
POST = (
    b"POST /v1/tasks HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nAuthorization: Bearer TOKEN\r\n"
)
HALF_BODY = POST + b"Content-Length: 1000\r\n\r\n{"
HALF_CHUNKS = POST + b"Transfer-Encoding: chunked\r\n\r\n5\r\n{  "


@pytest.fixture(scope="module")
def url(postgres_url: str, redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a gunicorn started by the Procfile's line."""
    with web.running(tmp_path_factory.mktemp("gunicorn"), {}) as address:
        yield address


def connect(url: str, *, source: str = "127.0.0.1") -> socket.socket:
    port = int(url.rpartition(":")[2])
    return socket.create_connection(("127.0.0.1", port), timeout=30, source_address=(source, 0))


def token() -> str:
    return sign_token(settings.load(), tenant="acme", key_id=token_hex(4), scopes=SCOPES, ttl=600)


def ask(url: str, method: str, path: str, body: bytes | None = None) -> tuple[int, float]:
    """Return a response's status and its duration in seconds."""
    started_at = time.monotonic()
    link = http.client.HTTPConnection(url.removeprefix("http://"), timeout=30)
    headers = {"Authorization": f"Bearer {token()}", "Content-Type": "application/json"}
    link.request(method, path, body, headers)
    status = link.getresponse().status
    link.close()
    return status, time.monotonic() - started_at


@pytest.mark.parametrize(
    "half", [b"", HALF_HEAD, HALF_BODY, HALF_CHUNKS], ids=["nothing", "heads", "bodies", "chunks"]
)
def test_many_incomplete_requests_do_not_block_the_api(url: str, half: bytes) -> None:
    with ExitStack() as stack:
        crowd = [stack.enter_context(connect(url, source=f"127.0.0.{2 + n % 5}")) for n in range(CROWD)]
        for link in crowd:
            link.sendall(half.replace(b"TOKEN", token().encode()))
        answers = [
            ask(url, "GET", "/health"),
            ask(url, "POST", "/v1/tasks", json.dumps(TASK).encode()),
        ]
        if half:
            for link in crowd:
                link.sendall(b"x")
        answers.append(ask(url, "GET", "/v1/tasks"))

    assert [status for status, _ in answers] == [200, 202, 200]
    assert max(seconds for _, seconds in answers) < PROMPT_SECONDS


def test_too_many_requests_of_one_address_end_its_oldest_ones(url: str) -> None:
    crowd_size = 2 * MAX_RECEIVING_PER_ADDRESS + CROWD
    with ExitStack() as stack:
        crowd = [stack.enter_context(connect(url)) for _ in range(crowd_size)]
        for link in crowd:
            link.sendall(HALF_HEAD)
        status, seconds = ask(url, "GET", "/health")
        crowd[-1].sendall(b"a: b\r\n\r\n")

        assert (status, seconds < PROMPT_SECONDS) == (200, True)
        assert crowd[-1].recv(100).startswith(b"HTTP/1.1 401 ")
        wait_until(lambda: sum(is_closed(link) for link in crowd) >= CROWD, 10, "the oldest to be ended")


def is_closed(link: socket.socket) -> bool:
    link.setblocking(False)
    try:
        return not link.recv(65536, socket.MSG_PEEK) or link.recv(65536).startswith(b"HTTP/1.1 408 ")
    except BlockingIOError:
        return False
    except OSError:
        return True


@pytest.mark.slow
def test_an_incomplete_request_gets_408_at_its_deadline(url: str) -> None:
    started_at = time.monotonic()
    with connect(url) as slow_head, connect(url) as slow_body:
        slow_head.sendall(HALF_HEAD)
        slow_body.sendall(HALF_BODY)
        head_answer = slow_head.recv(65536)
        seconds = time.monotonic() - started_at
        body_answer = slow_body.recv(65536)

    assert head_answer.startswith(b"HTTP/1.1 408 ")
    assert json.loads(head_answer.partition(b"\r\n\r\n")[2])["code"] == "request_timeout"
    assert body_answer.startswith(b"HTTP/1.1 408 ")
    assert HEAD_SECONDS - 1 < seconds < HEAD_SECONDS + 5


def test_fragments_pipelines_and_kept_connections_are_answered_in_order(url: str) -> None:
    request = b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n"
    with connect(url) as link:
        for piece in (request[:10], request[10:] + request + request[:7], request[7:]):
            link.sendall(piece)
        answers = b""
        while answers.count(b'"status":"healthy"') < 3:
            answers += link.recv(65536)
        link.sendall(request)
        last = link.recv(65536)

    assert last.startswith(b"HTTP/1.1 200 ")


def test_expect_100_gets_100_continue(url: str) -> None:
    head = b"POST /v1/tasks HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n"
    with connect(url) as link:
        link.sendall(head)
        first = link.recv(1000)
        link.sendall(b"{}")
        answer = b""
        while b" 401 " not in answer:
            answer += link.recv(65536)

    assert first == b"HTTP/1.1 100 Continue\r\n\r\n"


def test_an_endless_head_is_refused(url: str) -> None:
    with connect(url) as link:
        link.sendall(b"GET /health HTTP/1.1\r\n" + b"X-A: aaaaaaaaaaaaaaaaaaaaaaaa\r\n" * 3000)
        answer = link.recv(65536)

    assert answer.startswith(b"HTTP/1.1 431 ")


def test_clients_that_do_not_close_a_connection_block_nobody(url: str) -> None:
    with ExitStack() as stack:
        crowd = [stack.enter_context(connect(url)) for _ in range(50)]
        for link in crowd:
            link.sendall(b"GET /health HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        for link in crowd:
            assert link.recv(65536).startswith(b"HTTP/1.1 200 ")
        answers = [ask(url, "GET", "/health") for _ in range(4)]

    assert [status for status, _ in answers] == [200] * 4
    assert max(seconds for _, seconds in answers) < PROMPT_SECONDS
