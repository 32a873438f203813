"""HTTP client of the API for the octollm command: finds the server and its token, sends one request."""

import contextlib
import http.client
import json
import os
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any, NamedTuple, TypeVar
from urllib.parse import urlsplit

from orchestrator.cli.exit_status import RequestRefused, ServerUnreachable
from orchestrator.devserver import state_directory
from orchestrator.models.errors import OctoError, SettingsError
from orchestrator.settings_file import read_stack_file

T = TypeVar("T")

DEFAULT_URL = "http://127.0.0.1:8000"
LOCAL_TENANT = "local"
_TOKEN_SECONDS = 3600
_RETRY_SECONDS = 60.0
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


class ServerOptions(NamedTuple):
    """The options --url and --token; None where they were not given."""

    url: str | None
    token: str | None


@dataclass(frozen=True)
class ApiClient:
    """An OctoLLM server's address and the token to send (None: no token).

    A request answered with 429 is repeated after its Retry-After, for at most a minute in all. `origin` says where
    `url` was found; error messages show it.
    """

    url: str
    token: str | None = None
    timeout_seconds: float = 30.0
    origin: str = ""

    def get(self, path: str) -> Any:
        """Return the JSON answer of GET `path`. Raises RequestRefused or ServerUnreachable."""
        return self._call("GET", path)

    def post(self, path: str, document: Any = None) -> Any:
        """Return the JSON answer of POST `path` with a JSON document. Raises RequestRefused or ServerUnreachable."""
        body = None if document is None else json.dumps(document).encode()
        return self._call("POST", path, body=body, headers={"Content-Type": "application/json"})

    def patch(self, path: str, document: Any) -> Any:
        """Return the JSON answer of PATCH `path` with a JSON document. Raises like `get`."""
        body = json.dumps(document).encode()
        return self._call("PATCH", path, body=body, headers={"Content-Type": "application/json"})

    def delete(self, path: str) -> None:
        """Send DELETE `path`. Raises like `get`."""
        self._send("DELETE", path, read=lambda content: content)

    def upload(self, path: str, *, content: bytes, media_type: str, headers: Mapping[str, str]) -> Any:
        """Return the JSON answer of POST `path` with `content` as its body. Raises like `get`."""
        return self._call("POST", path, body=content, headers={"Content-Type": media_type, **headers})

    def download(self, path: str) -> bytes:
        """Return the bytes of GET `path`. Raises like `get`."""
        return self._send("GET", path, read=lambda content: content)

    def exchange(self, path: str, content: bytes, *, headers: Mapping[str, str]) -> tuple[int, bytes]:
        """Return status and body of the answer to POST `path`, whatever its status. Raises ServerUnreachable."""
        request = self._request("POST", path, body=content, headers=headers)
        try:
            try:
                with self._opener().open(request, timeout=self.timeout_seconds) as answer:
                    return answer.status, answer.read()
            except urllib.error.HTTPError as error:
                return error.code, error.read()
        except (OSError, http.client.HTTPException) as error:
            raise self._unreachable(error) from error

    def _call(
        self, method: str, path: str, *, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Any:
        return self._send(method, path, body=body, headers=headers, read=_json)

    def _send(
        self,
        method: str,
        path: str,
        *,
        read: Callable[[bytes], T],
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> T:
        request = self._request(method, path, body=body, headers=headers or {})
        give_up = time.monotonic() + _RETRY_SECONDS
        while True:
            try:
                return self._answer(request, read)
            except RequestRefused as error:
                # the server did nothing, so repeating is safe; consecutive commands share one key's rate limit
                pause = error.retry_after if error.status == HTTPStatus.TOO_MANY_REQUESTS else None
                if pause is None or time.monotonic() + pause > give_up:
                    raise
                time.sleep(pause)

    def _request(
        self, method: str, path: str, *, body: bytes | None, headers: Mapping[str, str]
    ) -> urllib.request.Request:
        request = urllib.request.Request(self.url + path, data=body, method=method)  # noqa: S310 - open_client checks
        for name, value in headers.items():
            request.add_header(name, value)
        request.add_header("Accept", "application/json")
        if self.token:
            request.add_header("Authorization", f"Bearer {self.token}")
        return request

    def _answer(self, request: urllib.request.Request, read: Callable[[bytes], T]) -> T:
        try:
            with self._opener().open(request, timeout=self.timeout_seconds) as answer:
                return read(answer.read())
        except urllib.error.HTTPError as error:
            raise _error_of(error) from error
        except (OSError, http.client.HTTPException) as error:
            raise self._unreachable(error) from error
        except ValueError as error:
            raise ServerUnreachable(f"{self.url} does not answer like an OctoLLM server (no JSON)") from error

    def _unreachable(self, error: Exception) -> ServerUnreachable:
        reason = getattr(error, "reason", None) or error
        origin = f", {self.origin}" if self.origin else ""
        return ServerUnreachable(
            f"{self.url} does not answer ({reason}{origin}): start it with `octollm up`, or name it with --url"
        )

    def _opener(self) -> urllib.request.OpenerDirector:
        handlers = (_PlainHandler, _SecureHandler)
        if urlsplit(self.url).hostname in _LOOPBACK:
            return urllib.request.build_opener(urllib.request.ProxyHandler({}), *handlers)
        return urllib.request.build_opener(*handlers)


def _json(content: bytes) -> Any:
    return json.loads(content)


class _ReadsEarlyAnswer(http.client.HTTPConnection):
    """A connection that reads the response of a server that rejects a body before reading all of it."""

    def request(self, *arguments: Any, **options: Any) -> None:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            super().request(*arguments, **options)


class _ReadsEarlyAnswerTLS(_ReadsEarlyAnswer, http.client.HTTPSConnection):
    """The same, over TLS."""


class _PlainHandler(urllib.request.HTTPHandler):
    def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(_ReadsEarlyAnswer, req)


class _SecureHandler(urllib.request.HTTPSHandler):
    def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(_ReadsEarlyAnswerTLS, req)


def open_client(access: ServerOptions) -> ApiClient:
    """Return a client for --url, else for the server that `octollm up` started (see devserver.state_directory)."""
    state = state_directory.find()
    address, origin = access.url, ""
    if not address:
        address = read_stack_file(state.path).get("OCTOLLM_URL")
        origin = f"from {state.origin}" if address else f"the default: {state.origin}"
    address = (address or DEFAULT_URL).rstrip("/").removesuffix("/v1")
    if urlsplit(address).scheme not in ("http", "https"):
        raise SettingsError(f"--url {address}: must begin with http:// or https://")
    return ApiClient(address, access.token or _local_token(state.path), origin=origin)


def _local_token(state: Path) -> str | None:
    """Sign a token for the tenant "local"; None without the server's private key on this machine."""
    from orchestrator import settings  # noqa: PLC0415 - 0.2 s, not needed with --token
    from orchestrator.auth import credential  # noqa: PLC0415

    try:
        known = settings.load_signing({**os.environ, "OCTOLLM_HOME": str(state)})
    except SettingsError:
        return None
    return credential.sign_token(
        known, tenant=LOCAL_TENANT, key_id="cli", scopes=credential.SCOPES, ttl=_TOKEN_SECONDS
    )


def _error_of(error: urllib.error.HTTPError) -> OctoError:
    """Return the error that a problem+json response describes, with the invalid fields."""
    try:
        problem = json.loads(error.read())
        message = str(problem.get("message") or problem.get("detail"))
        faults = (problem.get("details") or {}).get("errors") or []
    except (ValueError, AttributeError, OSError):
        message, faults = f"{error.code} {error.reason}", []
    lines = [f"{fault.get('field')}: {fault.get('message')}" for fault in faults if isinstance(fault, dict)]
    text = "\n  ".join([message, *(line for line in lines if line not in message)])
    if error.code in (502, 503, 504):
        return ServerUnreachable(text)
    hint = " Pass --token or OCTOLLM_TOKEN: see `octollm token --help`." if error.code == 401 else ""
    retry_after = error.headers.get("Retry-After") or ""
    return RequestRefused(
        text + hint, status=error.code, retry_after=float(retry_after) if retry_after.isdigit() else None
    )
