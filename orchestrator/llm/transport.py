"""Carries requests to models under one absolute deadline and one size limit, however the server doles out bytes.

A library's own timeout is per read: a server that sends a byte every half second never meets it. Here every read,
write, connect and handshake gets what is left until the deadline, headers included.
"""

import ssl
import threading
import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import httpcore2
import httpx2

from orchestrator.connections.forward_proxy import proxy_for
from orchestrator.llm import stop

MAX_ANSWER_BYTES = 8 * 2**20
MAX_CONNECTIONS = 64
STOP_SECONDS = 0.25
"""How often a request that waits for its answer asks whether it is still wanted."""
CONNECT_SECONDS = 5.0
"""For one address: a name may have several, and each is tried."""

_REDIRECTS = {301, 302, 303, 307, 308}
_OF_THE_PACKING = {"content-encoding", "content-length"}
_REQUEST_HEADERS = {"accept-encoding": "identity"}


class AnswerTooLarge(httpx2.ReadError):
    """The answer is longer than MAX_ANSWER_BYTES."""


class AnswerPacked(httpx2.ReadError):
    """The answer is packed in a way that can't be read."""


class NotAnswered(httpx2.RemoteProtocolError):
    """What came back with a good status is a page or nothing: no model said it."""


class Redirected(httpx2.RemoteProtocolError):
    """The server is somewhere else: `location` is its address."""

    def __init__(self, location: str) -> None:
        super().__init__("redirected")
        self.location = location


class _Until(threading.local):
    """The deadline of the request that this thread is carrying."""

    deadline: float = float("inf")
    is_sent: bool = False

    @contextmanager
    def set(self, deadline: float) -> Iterator[None]:
        before, self.deadline = self.deadline, deadline
        try:
            yield
        finally:
            self.deadline = before

    def left(self, timeout: float | None, *, error: type[Exception]) -> float | None:
        """Return the time for one operation; raises `error` when there is none."""
        if self.deadline == float("inf"):
            return timeout
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise error("the deadline has passed")
        return left if timeout is None else min(left, timeout)


_UNTIL = _Until()


class CallStopped(httpcore2.ReadError):
    """Nobody wants the answer any more."""


class _Stream(httpcore2.NetworkStream):
    def __init__(self, stream: httpcore2.NetworkStream) -> None:
        self._stream = stream

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        left = _UNTIL.left(timeout, error=httpcore2.ReadTimeout)
        if not stop.is_watched() or left is None:
            return self._stream.read(max_bytes, left)
        return self._read_watching(max_bytes, until=time.monotonic() + left)

    def _read_watching(self, max_bytes: int, *, until: float) -> bytes:
        """Read in short waits, looking in between whether the answer is still wanted."""
        while True:
            if stop.is_stopped():
                raise CallStopped("the task has ended")
            left = until - time.monotonic()
            try:
                return self._stream.read(max_bytes, max(0.001, min(left, STOP_SECONDS)))
            except httpcore2.ReadTimeout:
                if left <= STOP_SECONDS:
                    raise

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        _UNTIL.is_sent = True
        self._stream.write(buffer, _UNTIL.left(timeout, error=httpcore2.WriteTimeout))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore2.NetworkStream:
        left = _UNTIL.left(timeout, error=httpcore2.ConnectTimeout)
        return _Stream(self._stream.start_tls(ssl_context, server_hostname, left))

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


class _Backend(httpcore2.SyncBackend):
    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.NetworkStream:
        longest = CONNECT_SECONDS if timeout is None else min(timeout, CONNECT_SECONDS)
        left = _UNTIL.left(longest, error=httpcore2.ConnectTimeout)
        return _Stream(super().connect_tcp(host, port, left, local_address, socket_options))


class _Body(httpx2.SyncByteStream):
    """An answer's body: never longer than MAX_ANSWER_BYTES, never later than the deadline."""

    def __init__(self, parts: Any, *, deadline: float, unpack: Any = None) -> None:
        self._parts = parts
        self._deadline = deadline
        self._unpack = unpack

    def __iter__(self) -> Iterator[bytes]:
        received = 0
        parts = iter(self._parts)
        while (part := _carry(lambda: next(parts, None), deadline=self._deadline)) is not None:
            if self._unpack is not None:
                part = _unpacked(self._unpack, part, room=MAX_ANSWER_BYTES + 1 - received)
            received += len(part)
            if received > MAX_ANSWER_BYTES:
                raise AnswerTooLarge(f"the answer is longer than {MAX_ANSWER_BYTES} bytes")
            yield part

    def close(self) -> None:
        self._parts.close()


class DeadlineTransport(httpx2.BaseTransport):
    """HTTP with one deadline a request: now and the request's read timeout, when it is sent."""

    def __init__(self) -> None:
        self._pools: dict[str, httpcore2.ConnectionPool] = {}
        self._lock = threading.Lock()
        self._tls = httpx2.create_ssl_context()

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send the request and return its answer, whose body is bounded; raises httpx2.TransportError."""
        deadline = time.monotonic() + float(request.extensions["timeout"]["read"])
        outgoing = httpcore2.Request(
            method=request.method,
            url=httpcore2.URL(
                scheme=request.url.raw_scheme,
                host=request.url.raw_host,
                port=request.url.port,
                target=request.url.raw_path,
            ),
            headers=request.headers.raw,
            content=request.stream,
            extensions=request.extensions,
        )
        pool = self._pool(request.url)
        answer = _carry(lambda: pool.handle_request(outgoing), deadline=deadline)
        headers = httpx2.Headers(answer.headers)
        try:
            _require_answer(answer.status, headers, request.url)
            unpack = _unpacker(headers)
        except httpx2.HTTPError:
            answer.close()
            raise
        return httpx2.Response(
            answer.status,
            headers=[item for item in headers.multi_items() if item[0] not in _OF_THE_PACKING]
            if unpack
            else headers,
            stream=_Body(answer.stream, deadline=deadline, unpack=unpack),
            extensions=answer.extensions,
        )

    def close(self) -> None:
        """Close all connections."""
        with self._lock:
            for pool in self._pools.values():
                pool.close()
            self._pools.clear()

    def _pool(self, url: httpx2.URL) -> httpcore2.ConnectionPool:
        """Return the connections that lead to `url`: straight, or by the proxy of HTTPS_PROXY and its kin."""
        proxy = proxy_for(url.scheme, url.host)
        with self._lock:
            if proxy not in self._pools:
                self._pools[proxy] = self._open(proxy)
            return self._pools[proxy]

    def _open(self, proxy: str) -> httpcore2.ConnectionPool:
        limits: dict[str, Any] = {
            "ssl_context": self._tls,
            "max_connections": MAX_CONNECTIONS,
            "keepalive_expiry": 30.0,
            "network_backend": _Backend(),
        }
        if not proxy:
            return httpcore2.ConnectionPool(**limits)
        address = httpx2.URL(proxy)
        login = (address.username, address.password) if address.username else None
        bare = str(address.copy_with(username=None, password=None))
        return httpcore2.HTTPProxy(proxy_url=bare, proxy_auth=login, **limits)


def open_client() -> httpx2.Client:
    """Return a client for an SDK; its requests must carry a timeout, which becomes their deadline."""
    return httpx2.Client(transport=DeadlineTransport(), headers=_REQUEST_HEADERS, follow_redirects=False)


@contextmanager
def sending() -> Iterator[Callable[[], bool]]:
    """Give what tells whether this thread has sent anything within the block."""
    _UNTIL.is_sent = False
    yield lambda: _UNTIL.is_sent


def _require_answer(status: int, headers: httpx2.Headers, url: httpx2.URL) -> None:
    """Raise Redirected or NotAnswered for what no model can have said."""
    if status in _REDIRECTS and (location := headers.get("location")):
        # neither a login nor a query is told on
        there = url.join(location).copy_with(username=None, password=None, query=None, fragment=None)
        raise Redirected(str(there))
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    if 200 <= status < 300 and kind in ("text/html", "application/xhtml+xml"):
        raise NotAnswered("sent a web page")
    if 200 <= status < 300 and headers.get("content-length", "").strip() == "0":
        raise NotAnswered("sent an empty answer")


def _unpacker(headers: httpx2.Headers) -> Any:
    """Return what unpacks the answer, None where it is plain; raises AnswerPacked for what can't be unpacked."""
    how = headers.get("content-encoding", "identity").strip().lower()
    if how in ("identity", ""):
        return None
    if how not in ("gzip", "x-gzip", "deflate"):
        raise AnswerPacked(f"the answer is packed by {how[:40]!r} though plain text was asked for")
    # gzip or zlib, whichever its head says
    return zlib.decompressobj(wbits=zlib.MAX_WBITS | 32)


def _unpacked(unpack: Any, part: bytes, *, room: int) -> bytes:
    try:
        plain: bytes = unpack.decompress(part, room)
    except zlib.error as error:
        raise AnswerPacked("the answer is packed, and broken") from error
    return plain


def _carry(operation: Callable[[], Any], *, deadline: float) -> Any:
    """Do a part of a request until `deadline`; tell its failures as httpx2 does, whom the SDKs understand."""
    try:
        with _UNTIL.set(deadline):
            return operation()
    except httpcore2.ConnectTimeout as error:
        raise httpx2.ConnectTimeout(str(error)) from error
    except httpcore2.TimeoutException as error:
        raise httpx2.ReadTimeout(str(error)) from error
    except httpcore2.ConnectError as error:
        raise httpx2.ConnectError(str(error)) from error
    except httpcore2.ProxyError as error:
        raise httpx2.ProxyError(str(error)) from error
    except httpcore2.NetworkError as error:
        raise httpx2.ReadError(str(error)) from error
    except (httpcore2.ProtocolError, httpcore2.UnsupportedProtocol) as error:
        raise httpx2.RemoteProtocolError(str(error)) from error
