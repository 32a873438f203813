"""Serves GET /metrics in a worker or a sweeper, for a host or a container without an API (METRICS_LISTEN).

The processes of a host share one address as they share one directory: whichever has it reports all of them, and another
one takes it over when that one ends.
"""

import errno
import hmac
import io
import os
import socket
import time
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import structlog

from orchestrator.models.errors import SettingsError
from orchestrator.observability import metric
from orchestrator.process.loop import Loop, Pace

# between two attempts at an address that another process has
_TAKE_OVER_SECONDS = 2.0
# of one call in all, since calls are answered one after the other
_REQUEST_SECONDS = 2.0
_RESPONSE_SECONDS = 5.0
_MAX_REQUEST_BYTES = 8192
_END_OF_HEAD = b"\r\n\r\n"

log = structlog.get_logger(__name__)


class MetricsListener:
    """Serves the metrics of this host at `host`:`port`, from a thread, as soon as no other process serves them.

    If `token` is set, callers must send it as the bearer token.
    """

    def __init__(self, host: str, port: int, *, token: str | None) -> None:
        self._address = (host, port)
        self._token = token

    def start(self) -> None:
        """Start; call it in a process's main thread. Raises SettingsError for an address that can't be served."""
        first = [self._try_listen()]
        if first[0] is None:
            log.info("metrics.address_taken", port=self._address[1])

        def serve() -> None:
            server = first.pop() if first else self._try_listen()
            if server is not None:
                log.info("metrics.served", port=server.server_port)
                with server:
                    # it is never asked to stop
                    server.serve_forever(poll_interval=60)

        Loop("metrics", serve, pace=Pace(_TAKE_OVER_SECONDS), failed=metric.thread_failed).start()

    def _try_listen(self) -> "_Server | None":
        """Return a server that listens, None if the address is taken."""
        try:
            return _Server(self._address, self._token)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return None
            host, port = self._address
            raise SettingsError(
                f"METRICS_LISTEN is {host}:{port}, where this process can't listen ({error.strerror or error}): name "
                "an address of this machine, such as 127.0.0.1 or 0.0.0.0, and a port above 1023"
            ) from error


class _Server(HTTPServer):
    """Answers one call after the other. A scrape takes milliseconds; many callers take no more than one thread."""

    def __init__(self, address: tuple[str, int], token: str | None) -> None:
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self.token = token
        super().__init__(address, _Handler)
        # a pool's children outlive a killed parent, and would keep its address
        os.register_at_fork(after_in_child=self.socket.close)

    def server_bind(self) -> None:
        """Bind without the look-up of the host's name that HTTPServer makes."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_port = int(self.server_address[1])

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Do nothing: the caller has gone, or was too slow."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def setup(self) -> None:
        """Read the head within _REQUEST_SECONDS and _MAX_REQUEST_BYTES, however slowly its bytes come."""
        super().setup()
        self.rfile = io.BufferedReader(io.BytesIO(_head_of(self.connection)))
        self.connection.settimeout(_RESPONSE_SECONDS)

    def do_GET(self) -> None:
        """Answer with the metrics of all processes of this host."""
        if self.path.partition("?")[0] not in ("/metrics", "/v1/metrics"):
            self._answer(HTTPStatus.NOT_FOUND, b"GET /metrics\n")
        elif not self._is_operator():
            self._answer(HTTPStatus.UNAUTHORIZED, b"Send METRICS_TOKEN as the bearer token.\n")
        else:
            self._answer(HTTPStatus.OK, metric.exposition(), content_type=metric.CONTENT_TYPE)

    def _is_operator(self) -> bool:
        if self.server.token is None:
            return True
        scheme, _, given = self.headers.get("Authorization", "").partition(" ")
        matches = hmac.compare_digest(given.strip().encode("utf-8", "replace"), self.server.token.encode())
        return matches and scheme.lower() == "bearer"

    def _answer(self, status: HTTPStatus, body: bytes, *, content_type: str = "text/plain") -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Connection", "close")
        if status is HTTPStatus.UNAUTHORIZED:
            self.send_header("WWW-Authenticate", "Bearer")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Log nothing: a scrape comes every few seconds."""


def _head_of(connection: socket.socket, now: Callable[[], float] = time.monotonic) -> bytes:
    """Return the first bytes of a call, at most to the end of its head. Raises TimeoutError."""
    give_up = now() + _REQUEST_SECONDS
    head = b""
    while _END_OF_HEAD not in head and len(head) < _MAX_REQUEST_BYTES:
        left = give_up - now()
        if left <= 0:
            raise TimeoutError
        connection.settimeout(left)
        more = connection.recv(_MAX_REQUEST_BYTES - len(head))
        if not more:
            break
        head += more
    return head
