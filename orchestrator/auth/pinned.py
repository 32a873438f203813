"""Exchanges one HTTP request with a checked address: within one limit of time, bounded, and without redirects."""

import http.client
import math
import queue
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import structlog

from orchestrator.auth.egress import EgressTarget, is_public

log = structlog.get_logger(__name__)


class Unreachable(Exception):
    """The target must not be contacted, or has no address; the text is the reason's code."""


@contextmanager
def connect_to(
    target: EgressTarget, *, deadline: float, connect_seconds: float = math.inf
) -> Iterator["PinnedConnection"]:
    """Open a connection that is closed at the end of the block, and in any case at `deadline` (time.monotonic()).

    The host is resolved once and must have only public addresses, unless it is local. A redirect is an answer like any
    other. Raises Unreachable, TimeoutError, or the OSError of the last address. Within the block a use of the
    connection raises OSError or HTTPException when the deadline has passed or `abort` was called.
    """
    connected_by = min(deadline, time.monotonic() + connect_seconds)
    addresses = resolve(target, deadline=connected_by)
    connection = PinnedConnection(target, addresses, deadline=connected_by)
    try:
        with _limited(connection, connected_by):
            connection.connect()
        with _limited(connection, deadline):
            connection.allow_until(deadline)
            yield connection
    finally:
        connection.close()


@contextmanager
def _limited(connection: "PinnedConnection", deadline: float) -> Iterator[None]:
    """Abort the connection at the deadline: a socket's own timeout restarts with each byte received."""
    watchdog = threading.Timer(max(0.0, deadline - time.monotonic()), connection.abort)
    watchdog.daemon = True
    watchdog.start()
    try:
        yield
    finally:
        watchdog.cancel()


class PinnedConnection(http.client.HTTPConnection):
    """A connection to the first address that accepts it; a certificate is checked against the host name."""

    def __init__(self, target: EgressTarget, addresses: Sequence[str], *, deadline: float) -> None:
        super().__init__(target.host, target.port)
        # decides whether the Host header names the port
        self.default_port = 80 if target.is_plain else 443
        self._tls = None if target.is_plain else ssl.create_default_context()
        self._addresses = addresses
        self._deadline = deadline
        self._is_aborted = False
        # http.client forgets `sock` before the body of a response without a length is read
        self._opened: socket.socket | None = None

    def abort(self) -> None:
        """Close the connection's socket, from any thread; calling it twice is safe."""
        self._is_aborted = True
        if self._opened is not None:
            try:
                self._opened.shutdown(socket.SHUT_RDWR)
            except OSError:
                log.debug("egress.closed_already")

    def allow_until(self, deadline: float) -> None:
        """Let the open connection live until the deadline. Raises TimeoutError if it was aborted before."""
        self._deadline = deadline
        self.sock.settimeout(self._left())

    @property
    def is_over(self) -> bool:
        """Return whether the connection was aborted or its time is over: what was read may be incomplete."""
        return self._is_aborted or time.monotonic() >= self._deadline

    def connect(self) -> None:
        """Connect to one of the checked addresses, because another DNS lookup could return an unchecked one.

        Tries them in turn, each for an equal share of the time that is left. Raises the last one's error.
        """
        for number, address in enumerate(self._addresses):
            share = self._left() / (len(self._addresses) - number)
            try:
                self._connect_to(address, seconds=share)
            except OSError as error:
                fault = error
            else:
                return
        raise fault

    def read_at_most(self, response: http.client.HTTPResponse, limit: int) -> bytes | None:
        """Return the whole body of a response; None if it is longer than `limit` bytes, of which one more is read.

        Raises HTTPException or OSError for a body that ended early.
        """
        body = response.read(limit + 1)
        if len(body) > limit:
            return None
        if response.length or self.is_over:
            raise http.client.IncompleteRead(body)
        return body

    def _connect_to(self, address: str, *, seconds: float) -> None:
        plain = socket.create_connection((address, self.port), seconds)
        # from here on `abort` can close the socket; an earlier call is noticed by _left
        if self._tls is None:
            self.sock = plain
        else:
            self.sock = self._tls.wrap_socket(plain, server_hostname=self.host, do_handshake_on_connect=False)
        self._opened = self.sock
        try:
            self._left()
            if isinstance(self.sock, ssl.SSLSocket):
                self.sock.do_handshake()
        except OSError:
            self.sock.close()
            raise

    def _left(self) -> float:
        seconds = self._deadline - time.monotonic()
        if seconds <= 0 or self._is_aborted:
            raise TimeoutError
        return seconds


def resolve(target: EgressTarget, *, deadline: float) -> list[str]:
    """Return the host's addresses, all of which must be public; the connection uses one of them, not the name."""
    found: queue.SimpleQueue[list[str]] = queue.SimpleQueue()

    def ask() -> None:
        try:
            answers = socket.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError):
            answers = []
        found.put([str(answer[4][0]) for answer in answers])

    # the resolver takes no deadline
    threading.Thread(target=ask, name="resolver", daemon=True).start()
    try:
        addresses = list(dict.fromkeys(found.get(timeout=max(0.0, deadline - time.monotonic()))))
    except queue.Empty:
        raise Unreachable("name_not_resolved") from None
    if not addresses:
        raise Unreachable("name_not_resolved")
    if not target.is_local and not all(is_public(address) for address in addresses):
        raise Unreachable("address_not_public")
    return addresses
