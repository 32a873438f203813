"""The Procfile's gunicorn under refused large bodies and malformed requests."""

import base64
import json
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from secrets import token_hex

import httpx2
import pytest
import requests
from sqlalchemy import Engine

from orchestrator import settings
from orchestrator.auth.credential import SCOPES, sign_token
from orchestrator.chord.database import statement
from orchestrator.memory import audit_log
from orchestrator.settings import Settings
from tests.acceptance import web

MIB = 2**20
# larger than the kernel's buffers for a connection
LARGE = 12 * MIB
JSON = "application/json"
RAW = "application/octet-stream"

Send = Callable[[str, bytes, Mapping[str, str]], tuple[int, bytes]]


@pytest.fixture(scope="module")
def chosen(postgres_url: str, redis_url: str) -> Settings:
    return settings.load()


@pytest.fixture(scope="module")
def url(chosen: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a gunicorn started by the Procfile's line."""
    environ = {"RATE_LIMIT": "2/hour", "MAX_FILE_BYTES": str(MIB)}
    with web.running(tmp_path_factory.mktemp("gunicorn"), environ) as address:
        yield address


def by_urllib(url: str, body: bytes, headers: Mapping[str, str]) -> tuple[int, bytes]:
    asked = urllib.request.Request(url, data=body, headers=dict(headers))
    try:
        with urllib.request.urlopen(asked, timeout=30) as reply:
            return reply.status, reply.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def by_requests(url: str, body: bytes, headers: Mapping[str, str]) -> tuple[int, bytes]:
    reply = requests.post(url, data=body, headers=dict(headers), timeout=30)
    return reply.status_code, reply.content


def by_requests_in_chunks(url: str, body: bytes, headers: Mapping[str, str]) -> tuple[int, bytes]:
    pieces = (body[at : at + MIB] for at in range(0, len(body), MIB))
    reply = requests.post(url, data=pieces, headers=dict(headers), timeout=30)
    return reply.status_code, reply.content


def by_httpx(url: str, body: bytes, headers: Mapping[str, str]) -> tuple[int, bytes]:
    reply = httpx2.post(url, content=body, headers=dict(headers), timeout=30)
    return reply.status_code, reply.content


def headers_of(settings: Settings, content_type: str, scopes: tuple[str, ...] = SCOPES) -> dict[str, str]:
    """Return the headers of a caller with its own key."""
    token = sign_token(settings, tenant="acme", key_id=token_hex(4), scopes=scopes)
    return {"Authorization": f"Bearer {token}", "Content-Type": content_type}


def refused(chosen: Settings, url: str, why: str) -> tuple[str, dict[str, str]]:
    """Return a path and headers with which a large body is refused there."""
    match why:
        case "missing_auth":
            return "/v1/files", {"Content-Type": RAW}
        case "insufficient_permissions":
            return "/v1/files", headers_of(chosen, RAW, ("task:read",))
        case "payload_too_large":
            return "/v1/files", headers_of(chosen, RAW)
        case "unsupported_media_type":
            return "/v1/tasks", headers_of(chosen, "text/plain")
        case "rate_limit_exceeded":
            headers = headers_of(chosen, RAW)
            for _ in range(2):
                requests.get(f"{url}/v1/tasks", headers=headers, timeout=10)
            return "/v1/files", headers
        case _:
            return "/nowhere", {"Content-Type": RAW}


@pytest.mark.parametrize(
    ("send", "why", "status"),
    [
        (by_urllib, "missing_auth", 401),
        (by_urllib, "insufficient_permissions", 403),
        (by_urllib, "endpoint_not_found", 404),
        (by_urllib, "payload_too_large", 413),
        (by_urllib, "unsupported_media_type", 415),
        (by_urllib, "rate_limit_exceeded", 429),
        (by_requests, "missing_auth", 401),
        (by_requests, "payload_too_large", 413),
        (by_requests_in_chunks, "missing_auth", 401),
        (by_requests_in_chunks, "payload_too_large", 413),
        (by_httpx, "missing_auth", 401),
        (by_httpx, "payload_too_large", 413),
    ],
)
def test_the_sender_of_a_large_body_receives_the_refusal(
    url: str, chosen: Settings, *, send: Send, why: str, status: int
) -> None:
    path, headers = refused(chosen, url, why)

    got, content = send(url + path, bytes(LARGE), headers)

    assert (got, json.loads(content)["code"]) == (status, why)


def test_a_connection_whose_body_was_refused_serves_the_next_request(url: str) -> None:
    with requests.Session() as session:
        codes = [session.post(f"{url}/v1/files", data=bytes(LARGE), timeout=30).status_code for _ in range(3)]
        codes.append(session.get(f"{url}/health", timeout=30).status_code)

    assert codes == [401, 401, 401, 200]


def test_a_refused_sender_that_stops_sending_is_disconnected(url: str) -> None:
    port = int(url.rpartition(":")[2])
    started = time.monotonic()
    with socket.create_connection(("127.0.0.1", port), timeout=30) as link:
        link.sendall(b"POST /v1/files HTTP/1.1\r\nHost: a\r\nContent-Length: 10000000\r\n\r\nsome")
        answer = b""
        while chunk := link.recv(65536):
            answer += chunk

    assert answer.startswith(b"HTTP/1.1 401 ")
    assert time.monotonic() - started < 10


def raw(url: str, *lines: bytes) -> bytes:
    """Send the raw request and return the head of the response."""
    with socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])), timeout=30) as link:
        link.sendall(b"\r\n".join([*lines, b"Host: a", b"", b""]))
        answer = b""
        while b"\r\n\r\n" not in answer and (chunk := link.recv(65536)):
            answer += chunk
    return answer


@pytest.mark.parametrize(
    "header",
    [
        b"SCRIPT_NAME: /v2",
        b"PATH_INFO: /metrics",
        b"Script-Name: /v2",
        b"X-Forwarded-Proto: gopher",
        b"X-Forwarded-Proto: https\r\nX-Forwarded-Ssl: off",
        b"X-Script-Name: \xff",
        b"Content-Type: \xff\xfe; charset=\xff",
        b"Accept: " + b"a/b;q=1," * 900,
        b"Content-Length: -1",
        b"Expect: nonsense",
        b"Upgrade: h2c\r\nHTTP2-Settings: AAAA\r\nConnection: Upgrade, HTTP2-Settings",
        b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: \xff",
        b"Authorization: Bearer " + base64.urlsafe_b64encode(b"[" * 5000) + b".e30.AAAA",
        b"A b: c",
    ],
)
@pytest.mark.parametrize("target", [b"GET /v1/tasks", b"POST /v1/auth/token", b"GET /v1/tasks/a%00b/stream"])
def test_no_header_causes_a_server_error(url: str, target: bytes, header: bytes) -> None:
    answer = raw(url, target + b" HTTP/1.1", header)

    assert answer.startswith(b"HTTP/1.1 4"), answer[:200]


@pytest.mark.parametrize(
    "target", [b"GET /a b", b"GET \xff", b"GET http://[::1", b"GET //v1/", b"GET *", b"get /", b"G\xc9T /"]
)
def test_no_request_line_causes_a_server_error(url: str, target: bytes) -> None:
    answer = raw(url, target + b" HTTP/1.1")

    assert answer.startswith(b"HTTP/1.1 4"), answer[:200]


def test_more_slashes_lead_to_the_console_too(url: str) -> None:
    answer = raw(url, b"GET // HTTP/1.1")

    assert answer.startswith(b"HTTP/1.1 200")
    assert b"text/html" in answer


def test_the_last_action_before_a_stop_is_in_the_audit_log(
    chosen: Settings, tmp_path: Path, engine: Engine
) -> None:
    with web.running(tmp_path, {}) as address:
        status, _ = by_urllib(f"{address}/v1/tasks", b'{"goal": "x"}', headers_of(chosen, JSON))

    with statement(engine) as conn:
        found = audit_log.find(conn, action="task.submit")
    assert [entry.outcome.value for entry in found] == ["allowed" if status == 202 else "failed"]
