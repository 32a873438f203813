"""A gunicorn worker whose main loop receives requests: a thread gets a request only when all of it has arrived.

Gunicorn's gthread worker gives a thread to each connection that has sent a byte; the thread then waits for the rest
without limit, and 300 half-sent requests occupy all threads. Here a slow client occupies a socket and some memory,
until a deadline.
"""

import errno
import json
import math
import select
import socket
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus
from selectors import EVENT_READ
from typing import Any

from gunicorn.http import get_parser
from gunicorn.workers.gthread import ThreadWorker

from api.middleware.framing import Framing, Progress
from api.middleware.rate_limit import network_of

HEAD_SECONDS = 10.0
"""How long a request's head may take, from its first byte."""
BODY_SECONDS = 20.0
BODY_BYTES_PER_SECOND = 32 * 1024
"""How long a body may take: BODY_SECONDS, and one second more for each BODY_BYTES_PER_SECOND."""
MAX_RECEIVING_PER_ADDRESS = 200
"""How many requests of one address (or /64 network) a process receives at once; one more ends the oldest."""
MAX_RECEIVING_BYTES = 128 * 2**20
LINGER_SECONDS = 2.0
"""How long a client may take to close a connection after our last byte."""
SEND_SECONDS = 30
"""How long a thread waits for a client that does not read its response."""

_READ_BYTES = 64 * 1024
_CHECK_SECONDS = 0.25
_REFUSALS = {
    HTTPStatus.REQUEST_TIMEOUT: ("request_timeout", "The request did not arrive in time; send it faster."),
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE: ("headers_too_large", "The request's head is too large."),
    HTTPStatus.SERVICE_UNAVAILABLE: ("unavailable", "The server is receiving too many requests; try again."),
}


class ReceivedSocket:
    """The socket that a connection's parser reads: first the received bytes, then the socket, until `deadline`."""

    def __init__(self, sock: socket.socket) -> None:
        self.deadline = 0.0
        self._sock = sock
        self._received = memoryview(b"")

    def set_received(self, received: bytearray) -> None:
        """Set the bytes that `recv` returns before it reads the socket."""
        self._received = memoryview(received)

    def take_unread(self) -> bytes:
        """Remove and return the received bytes that are still unread: the start of the next request."""
        rest, self._received = bytes(self._received), memoryview(b"")
        return rest

    def recv(self, size: int) -> bytes:
        """Return the next bytes. Raises TimeoutError after the socket's timeout, ConnectionResetError at `deadline`."""
        if self._received:
            chunk, self._received = bytes(self._received[:size]), self._received[size:]
            return chunk
        remaining = max(0.0, self.deadline - time.monotonic())
        timeout = self._sock.gettimeout()
        poll = select.poll()
        poll.register(self._sock, select.POLLIN)
        if not poll.poll(1000 * (remaining if timeout is None else min(remaining, timeout))):
            if timeout is not None and timeout < remaining:
                raise TimeoutError
            raise ConnectionResetError(errno.ECONNRESET, "the rest of the request did not arrive in time")
        return self._sock.recv(size)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)


@dataclass(eq=False)
class IncomingRequest:
    """A request that has not arrived completely."""

    conn: Any
    address: str
    framing: Framing
    data: bytearray
    deadline: float
    progress: Progress | None = field(default=None)


class ReceivingWorker(ThreadWorker):  # type: ignore[misc]  # theirs is untyped
    """Receives requests in the main loop; `max_body_bytes` is the largest body that the application accepts.

    All methods run in the main thread; only gthread's `handle` runs in the other threads. Connections that use
    gunicorn's own TLS are left to gthread.
    """

    max_body_bytes = 2**24

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # oldest first
        self._incoming: dict[Any, IncomingRequest] = {}
        self._count_by_address: Counter[str] = Counter()
        # connections that wait for the client to close, with their deadlines; oldest first
        self._lingering: dict[Any, float] = {}
        self._received_bytes = 0
        self._next_check_at = 0.0
        self._stops_at = math.inf

    def accept(self, listener: Any) -> None:
        """Accept a connection; if there is no room for it, close the one that is most likely idle."""
        if self.nr_conns >= self.worker_connections - 1:
            self._make_room()
        try:
            super().accept(listener)
        except OSError as error:
            if error.errno not in (errno.EMFILE, errno.ENFILE):
                raise
            self._make_room()

    def enqueue_req(self, conn: Any) -> None:
        """Start to receive a request: on a new connection, a kept-alive one, or after a pipelined request."""
        if self.cfg.is_ssl:
            super().enqueue_req(conn)
            return
        if conn.parser is None:
            _prepare(conn, self.cfg)
        data = bytearray(conn.parser.unreader.take_buffered())
        conn.sock.setblocking(False)
        address = network_of(conn.client[0] if isinstance(conn.client, tuple) else None)
        framing = Framing(max_body_bytes=self.max_body_bytes)
        incoming = IncomingRequest(conn, address, framing, data, deadline=self._deadline(self.cfg.keepalive))
        self._incoming[conn] = incoming
        self._count_by_address[address] += 1
        self._received_bytes += len(data)
        self.poller.register(conn.sock, EVENT_READ, partial(self._read, incoming))
        if self._count_by_address[address] > MAX_RECEIVING_PER_ADDRESS:
            self._refuse(self._oldest(address), HTTPStatus.REQUEST_TIMEOUT)
        if data:
            self._process(incoming)

    def finish_request(self, conn: Any, fs: Any) -> None:
        """Finish as gthread does, and return the bytes that the parser has not read to its buffer.

        A connection that ends waits in the poller for the client to close it: gthread would wait in its main loop, up
        to 2 s for each client that does not close.
        """
        if not self.cfg.is_ssl and (fs.cancelled() or fs.exception() is not None or not fs.result()):
            self._linger(conn)
            return
        sock = vars(conn).get("received_socket")
        if isinstance(sock, ReceivedSocket) and (rest := sock.take_unread()):
            unreader = conn.parser.unreader
            before = unreader.take_buffered()
            unreader.unread(before + rest)
        super().finish_request(conn, fs)

    def murder_pending(self) -> None:
        """End requests and connections past their deadline; gthread calls this after each round of events."""
        super().murder_pending()
        now = time.monotonic()
        if now < self._next_check_at:
            return
        self._next_check_at = now + _CHECK_SECONDS
        for incoming in [one for one in self._incoming.values() if one.deadline <= now]:
            self._refuse(incoming, HTTPStatus.REQUEST_TIMEOUT)
        for conn in [one for one, deadline in self._lingering.items() if deadline <= now]:
            self._close_lingering(conn)

    def _cap_keepalive(self, deadline: float) -> None:
        """Give incoming requests no more time than kept-alive connections while the worker stops."""
        super()._cap_keepalive(deadline)
        self._stops_at = deadline
        for incoming in self._incoming.values():
            incoming.deadline = min(incoming.deadline, deadline)

    def _read(self, incoming: IncomingRequest, sock: socket.socket) -> None:
        if incoming.conn not in self._incoming:
            return
        try:
            chunk = sock.recv(_READ_BYTES)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            chunk = b""
        if not chunk:
            self._end(incoming)
            return
        incoming.data += chunk
        self._received_bytes += len(chunk)
        self._process(incoming)
        if self._received_bytes > max(MAX_RECEIVING_BYTES, 4 * self.max_body_bytes):
            self._refuse(self._largest(), HTTPStatus.SERVICE_UNAVAILABLE)

    def _linger(self, conn: Any) -> None:
        """Shut down our side, and wait LINGER_SECONDS for the client to close (RFC 9112, 9.6)."""
        self._lingering[conn] = time.monotonic() + LINGER_SECONDS
        try:
            conn.sock.shutdown(socket.SHUT_WR)
            conn.sock.setblocking(False)
            self.poller.register(conn.sock, EVENT_READ, partial(self._drain, conn))
        except (OSError, ValueError, KeyError):
            self._close_lingering(conn)

    def _drain(self, conn: Any, sock: socket.socket) -> None:
        if conn not in self._lingering:
            return
        try:
            if sock.recv(_READ_BYTES):
                return
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            pass
        self._close_lingering(conn)

    def _close_lingering(self, conn: Any) -> None:
        del self._lingering[conn]
        with suppress(OSError, ValueError, KeyError):
            self.poller.unregister(conn.sock)
        self.nr_conns -= 1
        conn.close()

    def _process(self, incoming: IncomingRequest) -> None:
        """Pass a complete request to a thread; set the deadline when a new part begins."""
        framing = incoming.framing
        progress = framing.scan(incoming.data)
        if progress is Progress.COMPLETE:
            self._hand_over(incoming)
        elif progress is Progress.HEAD_TOO_LARGE:
            self._refuse(incoming, HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
        elif progress is not incoming.progress:
            seconds = HEAD_SECONDS
            if progress is Progress.PART_OF_BODY:
                size = framing.body_bytes or self.max_body_bytes
                seconds = BODY_SECONDS + size / BODY_BYTES_PER_SECOND
                if framing.expects_continue:
                    _send(incoming.conn.sock, b"HTTP/1.1 100 Continue\r\n\r\n")
            incoming.progress, incoming.deadline = progress, self._deadline(seconds)

    def _deadline(self, seconds: float) -> float:
        """Return the time in `seconds` seconds, or the deadline of a stopping worker if that is earlier."""
        return min(time.monotonic() + seconds, self._stops_at)

    def _hand_over(self, incoming: IncomingRequest) -> None:
        self._forget(incoming)
        incoming.conn.received_socket.set_received(incoming.data)
        incoming.conn.received_socket.deadline = time.monotonic() + BODY_SECONDS
        super().enqueue_req(incoming.conn)

    def _refuse(self, incoming: IncomingRequest, status: HTTPStatus) -> None:
        """Send an error and end the connection; send nothing if the client has sent nothing."""
        if incoming.data:
            _send(incoming.conn.sock, _refusal(status))
        self._end(incoming)

    def _end(self, incoming: IncomingRequest) -> None:
        self._forget(incoming)
        self.nr_conns -= 1
        incoming.conn.close()

    def _forget(self, incoming: IncomingRequest) -> None:
        del self._incoming[incoming.conn]
        self._received_bytes -= len(incoming.data)
        self._count_by_address[incoming.address] -= 1
        if not self._count_by_address[incoming.address]:
            del self._count_by_address[incoming.address]
        self.poller.unregister(incoming.conn.sock)

    def _make_room(self) -> None:
        """Close a lingering connection, else a kept-alive one, else the oldest request of the address with the most."""
        busiest = self._count_by_address.most_common(1)
        if self._lingering:
            self._close_lingering(next(iter(self._lingering)))
        elif self.keepalived_conns and (not busiest or busiest[0][1] <= self.cfg.threads):
            conn = self.keepalived_conns.popleft()
            self.poller.unregister(conn.sock)
            self.nr_conns -= 1
            conn.close()
        elif busiest:
            self._refuse(self._oldest(busiest[0][0]), HTTPStatus.REQUEST_TIMEOUT)

    def _oldest(self, address: str) -> IncomingRequest:
        return next(one for one in self._incoming.values() if one.address == address)

    def _largest(self) -> IncomingRequest:
        """Return the largest request of the address that uses the most memory."""
        sizes: Counter[str] = Counter()
        for one in self._incoming.values():
            sizes[one.address] += len(one.data)
        address = sizes.most_common(1)[0][0]
        return max(
            (one for one in self._incoming.values() if one.address == address), key=lambda one: len(one.data)
        )


def _prepare(conn: Any, cfg: Any) -> None:
    """Give a new connection a parser that reads a ReceivedSocket; its own `init` would use the socket."""
    conn.received_socket = ReceivedSocket(conn.sock)
    conn.parser = get_parser(cfg, conn.received_socket, conn.client)
    conn.initialized = True
    # SO_SNDTIMEO applies to blocking sockets, and setblocking does not change it
    seconds = SEND_SECONDS.to_bytes(8, "little") + bytes(8)
    conn.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, seconds)


def _send(sock: socket.socket, content: bytes) -> None:
    """Send a few bytes, if the socket accepts them without blocking."""
    try:
        sock.send(content)
    except OSError:
        return


def _refusal(status: HTTPStatus) -> bytes:
    code, message = _REFUSALS[status]
    problem = {
        "type": f"urn:octollm:problem:{code}",
        "title": status.phrase,
        "status": status.value,
        "detail": message,
        "code": code,
        "message": message,
        "error": {"code": code, "message": message},
    }
    body = json.dumps(problem).encode()
    head = (
        f"HTTP/1.1 {status.value} {status.phrase}\r\nConnection: close\r\nContent-Type: application/problem+json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body
