"""Gunicorn's gthread worker, with requests received by its main loop: a thread gets a request when all of it is there.

gthread alone gives a thread to each connection that has sent a byte; the thread then waits for the rest without end,
and 300 half-sent requests hold all of them. Here who sends slowly holds a socket and some memory, until a deadline.
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

from api.middleware.framing import Arrived, Framing
from api.middleware.limit import network_of

HEAD_SECONDS = 10.0
"""How long a request's head may take from its first byte on."""
BODY_SECONDS = 20.0
BODY_BYTES_A_SECOND = 32 * 1024
"""How long a body may take: BODY_SECONDS, and a second more for so many bytes."""
MAX_ARRIVING_OF_ADDRESS = 200
"""Requests of one address (or /64 network) that a process receives at once; one more ends the oldest."""
MAX_ARRIVING_BYTES = 128 * 2**20
LINGER_SECONDS = 2.0
"""How long a client may take to close a connection that we have ended."""
SEND_SECONDS = 30
"""How long a thread waits for a client that takes nothing of its answer."""

_READ_BYTES = 64 * 1024
_LOOK_SECONDS = 0.25
_REFUSALS = {
    HTTPStatus.REQUEST_TIMEOUT: ("request_timeout", "The request did not arrive in time; send it faster."),
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE: ("headers_too_large", "The request's head is too large."),
    HTTPStatus.SERVICE_UNAVAILABLE: ("unavailable", "Too many requests arrive at once; try again."),
}


class Source:
    """What the parser of a connection reads: what has arrived, and after that the socket, until `deadline`."""

    def __init__(self, sock: socket.socket) -> None:
        self.deadline = 0.0
        self._sock = sock
        self._arrived = memoryview(b"")

    def give(self, arrived: bytearray) -> None:
        """Put what has arrived before what the socket holds."""
        self._arrived = memoryview(arrived)

    def take_rest(self) -> bytes:
        """Return what nobody has read: the begin of the next request."""
        rest, self._arrived = bytes(self._arrived), memoryview(b"")
        return rest

    def recv(self, size: int) -> bytes:
        """Return the next bytes. Raises TimeoutError after the socket's own timeout, ConnectionResetError too late."""
        if self._arrived:
            chunk, self._arrived = bytes(self._arrived[:size]), self._arrived[size:]
            return chunk
        left = max(0.0, self.deadline - time.monotonic())
        own = self._sock.gettimeout()
        poll = select.poll()
        poll.register(self._sock, select.POLLIN)
        if not poll.poll(1000 * (left if own is None else min(left, own))):
            if own is not None and own < left:
                raise TimeoutError
            raise ConnectionResetError(errno.ECONNRESET, "the rest of the request did not arrive in time")
        return self._sock.recv(size)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)


@dataclass(eq=False)
class Arrival:
    """A request on its way in."""

    conn: Any
    address: str
    framing: Framing
    data: bytearray
    deadline: float
    stage: Arrived | None = field(default=None)


class ReceivingWorker(ThreadWorker):  # type: ignore[misc]  # theirs is untyped
    """Receives requests in the main loop; `max_body_bytes` is what the application takes at most.

    All of this runs in the main thread, but the threads' own `handle`. Connections with TLS of gunicorn's own are left
    to gthread.
    """

    max_body_bytes = 2**24

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # the oldest first
        self._arrivals: dict[Any, Arrival] = {}
        self._of_address: Counter[str] = Counter()
        # connections that were answered and are to be closed, and until when; the oldest first
        self._leaving: dict[Any, float] = {}
        self._bytes = 0
        self._look_again_at = 0.0
        self._stops_at = math.inf

    def accept(self, listener: Any) -> None:
        """Accept a connection; where there is no room for it, end the one that is most likely idle."""
        if self.nr_conns >= self.worker_connections - 1:
            self._make_room()
        try:
            super().accept(listener)
        except OSError as error:
            if error.errno not in (errno.EMFILE, errno.ENFILE):
                raise
            self._make_room()

    def enqueue_req(self, conn: Any) -> None:
        """Begin to receive a request: on a new connection, a kept one, or behind another request."""
        if self.cfg.is_ssl:
            super().enqueue_req(conn)
            return
        if conn.parser is None:
            _prepare(conn, self.cfg)
        data = bytearray(conn.parser.unreader.take_buffered())
        conn.sock.setblocking(False)
        address = network_of(conn.client[0] if isinstance(conn.client, tuple) else None)
        framing = Framing(max_body_bytes=self.max_body_bytes)
        arrival = Arrival(conn, address, framing, data, deadline=self._deadline(self.cfg.keepalive))
        self._arrivals[conn] = arrival
        self._of_address[address] += 1
        self._bytes += len(data)
        self.poller.register(conn.sock, EVENT_READ, partial(self._read, arrival))
        if self._of_address[address] > MAX_ARRIVING_OF_ADDRESS:
            self._refuse(self._oldest(address), HTTPStatus.REQUEST_TIMEOUT)
        if data:
            self._look(arrival)

    def finish_request(self, conn: Any, fs: Any) -> None:
        """Do as gthread does, with what the parser has not read of the source.

        A connection that ends is given time to close in the poller: gthread waits for it in its main loop, up to 2 s
        for each client that does not close.
        """
        if not self.cfg.is_ssl and (fs.cancelled() or fs.exception() is not None or not fs.result()):
            self._linger(conn)
            return
        if isinstance(source := vars(conn).get("source"), Source) and (rest := source.take_rest()):
            unreader = conn.parser.unreader
            before = unreader.take_buffered()
            unreader.unread(before + rest)
        super().finish_request(conn, fs)

    def murder_pending(self) -> None:
        """End what is too late; gthread calls this after each round of events."""
        super().murder_pending()
        now = time.monotonic()
        if now < self._look_again_at:
            return
        self._look_again_at = now + _LOOK_SECONDS
        for arrival in [one for one in self._arrivals.values() if one.deadline <= now]:
            self._refuse(arrival, HTTPStatus.REQUEST_TIMEOUT)
        for conn in [one for one, deadline in self._leaving.items() if deadline <= now]:
            self._let_go(conn)

    def _cap_keepalive(self, deadline: float) -> None:
        """Give what arrives while the worker stops as little time as kept connections."""
        super()._cap_keepalive(deadline)
        self._stops_at = deadline
        for arrival in self._arrivals.values():
            arrival.deadline = min(arrival.deadline, deadline)

    def _read(self, arrival: Arrival, sock: socket.socket) -> None:
        if arrival.conn not in self._arrivals:
            return
        try:
            chunk = sock.recv(_READ_BYTES)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            chunk = b""
        if not chunk:
            self._end(arrival)
            return
        arrival.data += chunk
        self._bytes += len(chunk)
        self._look(arrival)
        if self._bytes > max(MAX_ARRIVING_BYTES, 4 * self.max_body_bytes):
            self._refuse(self._largest(), HTTPStatus.SERVICE_UNAVAILABLE)

    def _linger(self, conn: Any) -> None:
        """Say that nothing more comes, and wait for the client to close (RFC 9112, 9.6), for LINGER_SECONDS."""
        self._leaving[conn] = time.monotonic() + LINGER_SECONDS
        try:
            conn.sock.shutdown(socket.SHUT_WR)
            conn.sock.setblocking(False)
            self.poller.register(conn.sock, EVENT_READ, partial(self._drain, conn))
        except (OSError, ValueError, KeyError):
            self._let_go(conn)

    def _drain(self, conn: Any, sock: socket.socket) -> None:
        if conn not in self._leaving:
            return
        try:
            if sock.recv(_READ_BYTES):
                return
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            pass
        self._let_go(conn)

    def _let_go(self, conn: Any) -> None:
        del self._leaving[conn]
        with suppress(OSError, ValueError, KeyError):
            self.poller.unregister(conn.sock)
        self.nr_conns -= 1
        conn.close()

    def _look(self, arrival: Arrival) -> None:
        """Hand a whole request to a thread; give a new part its deadline."""
        stage, framing = arrival.framing.look(arrival.data), arrival.framing
        if stage is Arrived.WHOLE:
            self._hand_over(arrival)
        elif stage is Arrived.HEAD_TOO_LARGE:
            self._refuse(arrival, HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
        elif stage is not arrival.stage:
            seconds = HEAD_SECONDS
            if stage is Arrived.PART_OF_BODY:
                size = framing.body_bytes or self.max_body_bytes
                seconds = BODY_SECONDS + size / BODY_BYTES_A_SECOND
                if framing.expects_continue:
                    _send(arrival.conn.sock, b"HTTP/1.1 100 Continue\r\n\r\n")
            arrival.stage, arrival.deadline = stage, self._deadline(seconds)

    def _deadline(self, seconds: float) -> float:
        """Return when so many seconds have passed, or a stopping worker ends what arrives."""
        return min(time.monotonic() + seconds, self._stops_at)

    def _hand_over(self, arrival: Arrival) -> None:
        self._forget(arrival)
        arrival.conn.source.give(arrival.data)
        arrival.conn.source.deadline = time.monotonic() + BODY_SECONDS
        super().enqueue_req(arrival.conn)

    def _refuse(self, arrival: Arrival, status: HTTPStatus) -> None:
        """Say why and end the connection; to who has sent nothing, nothing is said."""
        if arrival.data:
            _send(arrival.conn.sock, _refusal(status))
        self._end(arrival)

    def _end(self, arrival: Arrival) -> None:
        self._forget(arrival)
        self.nr_conns -= 1
        arrival.conn.close()

    def _forget(self, arrival: Arrival) -> None:
        del self._arrivals[arrival.conn]
        self._bytes -= len(arrival.data)
        self._of_address[arrival.address] -= 1
        if not self._of_address[arrival.address]:
            del self._of_address[arrival.address]
        self.poller.unregister(arrival.conn.sock)

    def _make_room(self) -> None:
        """End a connection that is closing, or one kept for later, or the oldest request of who sends most of them."""
        most = self._of_address.most_common(1)
        if self._leaving:
            self._let_go(next(iter(self._leaving)))
        elif self.keepalived_conns and (not most or most[0][1] <= self.cfg.threads):
            conn = self.keepalived_conns.popleft()
            self.poller.unregister(conn.sock)
            self.nr_conns -= 1
            conn.close()
        elif most:
            self._refuse(self._oldest(most[0][0]), HTTPStatus.REQUEST_TIMEOUT)

    def _oldest(self, address: str) -> Arrival:
        return next(one for one in self._arrivals.values() if one.address == address)

    def _largest(self) -> Arrival:
        """Return the largest request of the address whose requests are largest together."""
        sizes: Counter[str] = Counter()
        for one in self._arrivals.values():
            sizes[one.address] += len(one.data)
        address = sizes.most_common(1)[0][0]
        return max(
            (one for one in self._arrivals.values() if one.address == address), key=lambda one: len(one.data)
        )


def _prepare(conn: Any, cfg: Any) -> None:
    """Give a new connection a parser that reads from our source, as its own `init` would from the socket."""
    conn.source = Source(conn.sock)
    conn.parser = get_parser(cfg, conn.source, conn.client)
    conn.initialized = True
    # SO_SNDTIMEO holds for blocking sockets, and is not changed by setblocking
    seconds = SEND_SECONDS.to_bytes(8, "little") + bytes(8)
    conn.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, seconds)


def _send(sock: socket.socket, content: bytes) -> None:
    """Send a few bytes if the client takes them at once."""
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
