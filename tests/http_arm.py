"""A small HTTP arm on a free port of 127.0.0.1, which a test lets behave well or badly."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple


class Request(NamedTuple):
    """A received request: `raw` are the bytes of its body."""

    path: str
    headers: dict[str, str]
    raw: bytes

    @property
    def body(self) -> dict[str, Any]:
        return dict(json.loads(self.raw))


Behaviour = Callable[[BaseHTTPRequestHandler, Request], None]


def says(status: int, body: Any, **headers: str) -> Behaviour:
    """Answer with JSON, or with bytes as they are."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()

    def answer(handler: BaseHTTPRequestHandler, _: Request) -> None:
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        handler.wfile.write(content)

    return answer


def succeeds(**result: Any) -> Behaviour:
    """Answer that the action succeeded."""
    return says(200, {"success": True, "result": result})


def fails(status: int, code: str, *, retryable: bool | None = None, **headers: str) -> Behaviour:
    """Answer with the contract's error."""
    error = {"code": code, "message": "no luck", "retryable": retryable}
    return says(status, {"success": False, "error": error}, **headers)


@dataclass
class ServedArm:
    """A running arm: its port, how it behaves, and the requests so far; `is_over` is set when the test ends."""

    behaves: Behaviour
    port: int = 0
    received: list[Request] = field(default_factory=list)
    is_over: threading.Event = field(default_factory=threading.Event)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/arm"

    @property
    def target(self) -> str:
        return f"127.0.0.1:{self.port}"


@contextmanager
def serve_arm(behaves: Behaviour) -> Iterator[ServedArm]:
    """Answer requests until the block ends."""
    served = ServedArm(behaves)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            came = Request(self.path, dict(self.headers), self.rfile.read(length))
            served.received.append(came)
            try:
                served.behaves(self, came)
            except ConnectionError:
                self.close_connection = True

        def log_message(self, *_: object) -> None:
            """Log nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    served.port = server.server_port
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield served
    finally:
        served.is_over.set()
        server.shutdown()
        server.server_close()
        thread.join()
