"""The HTTP transport to model servers, with one absolute deadline and one size limit for each request.

The libraries' timeout is per read, so that a server which sends one byte every half second never exceeds it. Here
every connect, handshake, write and read gets the time that is left until the deadline.
"""

import os
import ssl
import threading
import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import httpcore2
import httpx2

from orchestrator.connections.forward_proxy import proxy_for
from orchestrator.llm import cancellation

MAX_ANSWER_BYTES = 8 * 2**20
MAX_CONNECTIONS = 64
CANCEL_CHECK_SECONDS = 0.25
"""How often a request that waits for its response checks whether it was cancelled."""
CONNECT_SECONDS = 5.0
"""For each address of a host name, which may have several."""

_REDIRECTS = {301, 302, 303, 307, 308}
_ENCODING_HEADERS = {"content-encoding", "content-length"}
_REQUEST_HEADERS = {"accept-encoding": "identity"}


class AnswerTooLarge(httpx2.ReadError):
    """The response is longer than MAX_ANSWER_BYTES."""


class AnswerEncoded(httpx2.ReadError):
    """The response has a content encoding that can't be decoded."""


class NotAnswered(httpx2.RemoteProtocolError):
    """The response has status 2xx, but is an HTML page or empty."""


class Redirected(httpx2.RemoteProtocolError):
    """The server redirects the request to `location`."""

    def __init__(self, location: str) -> None:
        super().__init__("redirected")
        self.location = location


class _RequestState(threading.local):
    """The deadline of this thread's current request, and whether any of it was sent."""

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
        """Return the seconds for one operation. Raises `error` if the deadline has passed."""
        if self.deadline == float("inf"):
            return timeout
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise error("the deadline has passed")
        return left if timeout is None else min(left, timeout)


_REQUEST = _RequestState()


class CallCancelled(httpcore2.ReadError):
    """The request was cancelled."""


class _Stream(httpcore2.NetworkStream):
    def __init__(self, stream: httpcore2.NetworkStream) -> None:
        self._stream = stream

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        left = _REQUEST.left(timeout, error=httpcore2.ReadTimeout)
        if not cancellation.is_cancellable() or left is None:
            return self._stream.read(max_bytes, left)
        return self._read_cancellable(max_bytes, until=time.monotonic() + left)

    def _read_cancellable(self, max_bytes: int, *, until: float) -> bytes:
        """Read with short timeouts and check between them whether the request was cancelled."""
        while True:
            if cancellation.is_cancelled():
                raise CallCancelled("the request was cancelled")
            left = until - time.monotonic()
            try:
                return self._stream.read(max_bytes, max(0.001, min(left, CANCEL_CHECK_SECONDS)))
            except httpcore2.ReadTimeout:
                if left <= CANCEL_CHECK_SECONDS:
                    raise

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        _REQUEST.is_sent = True
        self._stream.write(buffer, _REQUEST.left(timeout, error=httpcore2.WriteTimeout))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore2.NetworkStream:
        left = _REQUEST.left(timeout, error=httpcore2.ConnectTimeout)
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
        left = _REQUEST.left(longest, error=httpcore2.ConnectTimeout)
        return _Stream(super().connect_tcp(host, port, left, local_address, socket_options))


class _Body(httpx2.SyncByteStream):
    """A response's body; reading beyond MAX_ANSWER_BYTES or the deadline is an error."""

    def __init__(self, parts: Any, *, deadline: float, decoder: Any = None) -> None:
        self._parts = parts
        self._deadline = deadline
        self._decoder = decoder

    def __iter__(self) -> Iterator[bytes]:
        received = 0
        parts = iter(self._parts)
        while (part := _run_until(lambda: next(parts, None), deadline=self._deadline)) is not None:
            if self._decoder is not None:
                part = _decoded(self._decoder, part, room=MAX_ANSWER_BYTES + 1 - received)
            received += len(part)
            if received > MAX_ANSWER_BYTES:
                raise AnswerTooLarge(f"the response is longer than {MAX_ANSWER_BYTES} bytes")
            yield part

    def close(self) -> None:
        self._parts.close()


class DeadlineTransport(httpx2.BaseTransport):
    """HTTP with one deadline for each request: its read timeout, counted from when it is sent."""

    def __init__(self) -> None:
        self._pools: dict[str, httpcore2.ConnectionPool] = {}
        self._lock = threading.Lock()
        self._tls = _tls(os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR"))

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send the request; return its response, whose body is bounded. Raises httpx2.TransportError."""
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
        response = _run_until(lambda: pool.handle_request(outgoing), deadline=deadline)
        headers = httpx2.Headers(response.headers)
        try:
            _require_answer(response.status, headers, request.url)
            decoder = _decoder(headers)
        except httpx2.HTTPError:
            response.close()
            raise
        return httpx2.Response(
            response.status,
            headers=[item for item in headers.multi_items() if item[0] not in _ENCODING_HEADERS]
            if decoder
            else headers,
            stream=_Body(response.stream, deadline=deadline, decoder=decoder),
            extensions=response.extensions,
        )

    def close(self) -> None:
        """Close all connections."""
        with self._lock:
            for pool in self._pools.values():
                pool.close()
            self._pools.clear()

    def _pool(self, url: httpx2.URL) -> httpcore2.ConnectionPool:
        """Return the connection pool for `url`: direct, or through the proxy of HTTPS_PROXY or its variants."""
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


@lru_cache(maxsize=4)
def _tls(file: str | None, folder: str | None) -> ssl.SSLContext:
    """Return the TLS settings of all transports; httpx2 reads both variables, and parsing takes 20 ms of CPU."""
    return httpx2.create_ssl_context()


def open_client() -> httpx2.Client:
    """Return an HTTP client for an SDK; every request must set a timeout, which becomes its deadline."""
    return httpx2.Client(transport=DeadlineTransport(), headers=_REQUEST_HEADERS, follow_redirects=False)


@contextmanager
def track_sending() -> Iterator[Callable[[], bool]]:
    """Yield a function that tells whether this thread has sent anything within the block."""
    _REQUEST.is_sent = False
    yield lambda: _REQUEST.is_sent


def _require_answer(status: int, headers: httpx2.Headers, url: httpx2.URL) -> None:
    """Raise Redirected or NotAnswered for a response that can't be a model's."""
    if status in _REDIRECTS and (location := headers.get("location")):
        # without credentials and query, which must not appear in an error
        there = url.join(location).copy_with(username=None, password=None, query=None, fragment=None)
        raise Redirected(str(there))
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    if 200 <= status < 300 and kind in ("text/html", "application/xhtml+xml"):
        raise NotAnswered("sent a web page")
    if 200 <= status < 300 and headers.get("content-length", "").strip() == "0":
        raise NotAnswered("sent an empty answer")


def _decoder(headers: httpx2.Headers) -> Any:
    """Return a decoder for the response's content encoding, or None. Raises AnswerEncoded for an unsupported one."""
    how = headers.get("content-encoding", "identity").strip().lower()
    if how in ("identity", ""):
        return None
    if how not in ("gzip", "x-gzip", "deflate"):
        raise AnswerEncoded(
            f"the response has the content encoding {how[:40]!r} though identity was requested"
        )
    # detects gzip or zlib by the header
    return zlib.decompressobj(wbits=zlib.MAX_WBITS | 32)


def _decoded(decoder: Any, part: bytes, *, room: int) -> bytes:
    try:
        plain: bytes = decoder.decompress(part, room)
    except zlib.error as error:
        raise AnswerEncoded("the response's content encoding is broken") from error
    return plain


def _run_until(operation: Callable[[], Any], *, deadline: float) -> Any:
    """Run a part of a request until `deadline`; raise httpx2's exceptions, which the SDKs expect."""
    try:
        with _REQUEST.set(deadline):
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
