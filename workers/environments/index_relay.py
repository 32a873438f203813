"""A relay to the operator's package index: all that a sandbox reaches of the network while uv works in it.

The relay asks only the index and the addresses that the index's own pages name. It writes these pages anew, so that
every address in them leads back to it: names are resolved, redirects followed, certificates checked and credentials
added outside of the sandbox, which never sees them. It serves wheels only.
"""

import base64
import hashlib
import http.client
import re
import secrets
import socket
import socketserver
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, cast
from urllib.parse import unquote, urlsplit, urlunsplit

import structlog

from orchestrator.models.errors import StepError
from workers.environments.index_pages import (
    ACCEPT,
    JSON_PAGE,
    MAX_PAGE_BYTES,
    IndexFile,
    read_page,
    write_page,
)

HOST = "127.0.0.1"
MAX_CONNECTIONS = 24
_TIMEOUT_SECONDS = 20.0
_WAIT_SECONDS = 5.0
_CHUNK_BYTES = 65_536
_PATH = re.compile(
    r"/(?P<token>[0-9a-f]{32})/(?P<kind>simple|files)/(?P<name>[A-Za-z0-9][A-Za-z0-9._-]{0,199})/(?P<rest>.*)"
)
_METADATA = ".metadata"

log = structlog.get_logger(__name__)


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects to addresses that are as safe as the index, with its credentials only to itself."""

    max_redirections = 5

    def __init__(self, index: "Index") -> None:
        self._index = index

    def redirect_request(  # noqa: PLR0917 - urllib's signature
        self, req: urllib.request.Request, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        """Return the next request; raises HTTPError when the address is not allowed."""
        if not self._index.allows(newurl):
            raise urllib.error.HTTPError(req.full_url, code, "redirect refused", headers, fp)
        return self._index.request(newurl, dict(req.headers), method=req.get_method())


class Index:
    """The operator's package index; its URL may hold a user and a password."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        host = parts.netloc.rpartition("@")[2]
        self.url = urlunsplit((parts.scheme, host, parts.path.rstrip("/") + "/", "", ""))
        self._origin = (parts.scheme, host)
        self._authorization: str | None = None
        if parts.username is not None:
            pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            self._authorization = "Basic " + base64.b64encode(pair.encode()).decode()
        self._opener = urllib.request.build_opener(_Redirects(self))

    def allows(self, url: str) -> bool:
        """Return whether the relay may ask this address, which the index named."""
        parts = urlsplit(url)
        return parts.scheme == "https" or (parts.scheme, parts.netloc) == self._origin

    def request(self, url: str, headers: dict[str, str], *, method: str) -> urllib.request.Request:
        """Return a request; only the index itself gets its credentials."""
        request = urllib.request.Request(url, headers=headers, method=method)  # noqa: S310 - `allows` was asked
        parts = urlsplit(url)
        if self._authorization and (parts.scheme, parts.netloc) == self._origin:
            request.add_unredirected_header("Authorization", self._authorization)
        return request

    def open(self, url: str, headers: dict[str, str], *, method: str = "GET") -> http.client.HTTPResponse:
        """Return the answer to a request. Raises HTTPError for an error status, OSError when there is none."""
        answer: http.client.HTTPResponse = self._opener.open(
            self.request(url, headers, method=method), timeout=_TIMEOUT_SECONDS
        )
        return answer


@dataclass
class IndexRelay:
    """What one build asked of the index, and may ask.

    `unknown` are the names that the index does not know. `fault` says in a few words why it could not be asked. At
    most `max_bytes` are relayed.
    """

    index: Index
    max_bytes: int
    token: str = field(default_factory=lambda: secrets.token_hex(16))
    requests: int = 0
    relayed: int = 0
    fault: str = ""
    unknown: set[str] = field(default_factory=set)
    files: dict[str, IndexFile] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    @contextmanager
    def serving(self, place: Path | None) -> Iterator[int]:
        """Serve on a Unix socket at `place`, or on a port of loopback, until the block ends; yield the port or 0."""
        server = _Server((HOST, 0), _Handler) if place is None else _UnixServer(str(place), _Handler)
        if place is not None:
            place.chmod(0o666)
        port = int(server.socket.getsockname()[1]) if place is None else 0
        server.relay = self
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), name="index-relay", daemon=True)
        thread.start()
        try:
            yield port
        finally:
            server.shutdown()
            server.server_close()
            thread.join()

    def page(self, name: str) -> bytes:
        """Return the page of a project, with addresses of this relay."""
        with self.index.open(f"{self.index.url}{name}/", {"Accept": ACCEPT}) as answer:
            content = answer.read(MAX_PAGE_BYTES + 1)
            media_type, url = answer.headers.get_content_type(), answer.url
        if len(content) > MAX_PAGE_BYTES:
            raise OSError(f"its page of {name} is too large")
        self.count(len(content))
        listed = [file for file in read_page(content, media_type, url=url) if self.index.allows(file.url)]
        keys = {hashlib.sha256(file.url.encode()).hexdigest()[:32]: file for file in listed}
        with self.lock:
            self.files |= keys
        addresses = {file.url: f"/{self.token}/files/{key}/{file.filename}" for key, file in keys.items()}
        return write_page(name, listed, lambda file: addresses[file.url])

    def count(self, size: int) -> None:
        """Count what was relayed; raises OSError when it is too much."""
        with self.lock:
            self.relayed += size
            if self.relayed > self.max_bytes:
                self.fault = f"the packages are more than {self.max_bytes} bytes to download"
                raise OSError(self.fault)


class _ClientGone(Exception):
    """uv has closed the connection: it needs no more of the answer."""


class _Handler(BaseHTTPRequestHandler):
    timeout = _TIMEOUT_SECONDS
    server_version = "relay"
    sys_version = ""

    @property
    def relay(self) -> IndexRelay:
        return cast("_Server", self.server).relay

    def do_GET(self) -> None:
        """Serve a page or a wheel; 404 for whatever the index's pages do not name."""
        asked = _PATH.fullmatch(self.path)
        if asked is None or not secrets.compare_digest(asked["token"], self.relay.token):
            self._refuse(HTTPStatus.NOT_FOUND)
            return
        with self.relay.lock:
            self.relay.requests += 1
        try:
            if asked["kind"] == "files":
                self._send_file(asked["name"], asked["rest"])
            elif asked["rest"]:
                self._refuse(HTTPStatus.NOT_FOUND)
            else:
                self._send_page(asked["name"])
        except _ClientGone:
            self.close_connection = True
        except urllib.error.HTTPError as error:
            self._report(asked, error.code)
        except (StepError, OSError, http.client.HTTPException, ValueError) as error:
            log.warning("environment.index_failed", error=type(error).__name__)
            self.relay.fault = self.relay.fault or "the package index can't be reached or read"
            self._refuse(HTTPStatus.BAD_GATEWAY)

    do_HEAD = do_GET  # noqa: N815 - http.server's name

    def _report(self, asked: re.Match[str], status: int) -> None:
        if status == HTTPStatus.NOT_FOUND:
            if asked["kind"] == "simple":
                self.relay.unknown.add(asked["name"])
            self._refuse(HTTPStatus.NOT_FOUND)
            return
        self.relay.fault = self.relay.fault or f"the package index answers {status}"
        self._refuse(HTTPStatus.BAD_GATEWAY)

    def _send_page(self, name: str) -> None:
        content = self.relay.page(name)
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", JSON_PAGE)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self._write(content)

    def _send_file(self, key: str, name: str) -> None:
        file = self.relay.files.get(key)
        if file is None or name not in (file.filename, file.filename + _METADATA):
            self._refuse(HTTPStatus.NOT_FOUND)
            return
        parts = urlsplit(file.url)
        path = parts.path + (_METADATA if name.endswith(_METADATA) else "")
        wanted = {"Range": self.headers["Range"]} if "Range" in self.headers else {}
        with self.relay.index.open(
            urlunsplit(parts._replace(path=path)), wanted, method=self.command
        ) as answer:
            self.send_response(answer.status)
            for header in ("Content-Length", "Content-Range", "Accept-Ranges", "Content-Type"):
                if value := answer.headers.get(header):
                    self.send_header(header, value)
            self.end_headers()
            while chunk := answer.read(_CHUNK_BYTES):
                self.relay.count(len(chunk))
                self._write(chunk)

    def _write(self, content: bytes) -> None:
        try:
            self.wfile.write(content)
        except OSError as error:
            raise _ClientGone from error

    def _refuse(self, status: HTTPStatus) -> None:
        try:
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()
        except OSError:
            self.close_connection = True

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - http.server's name
        """Log nothing: uv reports what it asks for."""


class _Server(socketserver.ThreadingMixIn, socketserver.TCPServer):
    """Serves a bounded number of connections at the same time; the others wait in the socket's queue."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 128
    relay: IndexRelay

    def __init__(self, *args: Any) -> None:
        self._free = threading.BoundedSemaphore(MAX_CONNECTIONS)
        super().__init__(*args)

    def process_request(self, request: Any, client_address: Any) -> None:
        # a server that is being shut down must not wait for connections whose other side is silent
        if not self._free.acquire(timeout=_WAIT_SECONDS):
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Report nothing: the connection was closed by uv, or by the end of its sandbox."""


class _UnixServer(_Server):
    address_family = socket.AF_UNIX

    def get_request(self) -> tuple[socket.socket, Any]:
        request, _ = super().get_request()
        return request, ("sandbox", 0)
