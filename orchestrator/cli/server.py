"""Talks to the API over HTTP: where it is, who we are, and one call."""

import contextlib
import http.client
import json
import os
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from orchestrator.cli.access import Access
from orchestrator.cli.ending import Refused, Unreachable
from orchestrator.devserver import home
from orchestrator.models.errors import OctoError, SettingsError
from orchestrator.settings_file import read_stack_file

DEFAULT_URL = "http://127.0.0.1:8000"
LOCAL_TENANT = "local"
_TOKEN_SECONDS = 3600
_PATIENCE_SECONDS = 60.0
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True)
class Server:
    """An OctoLLM server, and the token that opens it (None: send none).

    A call that the server limits (429) is sent again when it says so, for a minute at most. `origin` says where the
    address comes from.
    """

    url: str
    token: str | None = None
    timeout_seconds: float = 30.0
    origin: str = ""

    def get(self, path: str) -> Any:
        """Return the JSON answer of GET `path`. Raises Refused or Unreachable."""
        return self._call("GET", path)

    def post(self, path: str, document: Any = None) -> Any:
        """Return the JSON answer of POST `path` with a JSON document. Raises Refused or Unreachable."""
        body = None if document is None else json.dumps(document).encode()
        return self._call("POST", path, body=body, headers={"Content-Type": "application/json"})

    def upload(self, path: str, *, content: bytes, media_type: str, headers: Mapping[str, str]) -> Any:
        """Return the JSON answer of POST `path` with `content` as its body. Raises Refused or Unreachable."""
        return self._call("POST", path, body=content, headers={"Content-Type": media_type, **headers})

    def _call(
        self, method: str, path: str, *, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Any:
        request = urllib.request.Request(self.url + path, data=body, method=method)  # noqa: S310 - find_server checks
        for name, value in (headers or {}).items():
            request.add_header(name, value)
        request.add_header("Accept", "application/json")
        if self.token:
            request.add_header("Authorization", f"Bearer {self.token}")
        give_up = time.monotonic() + _PATIENCE_SECONDS
        while True:
            try:
                return self._answer(request)
            except Refused as error:
                # nothing was done: commands of one key share its rate, and one after the other may use it up
                pause = error.retry_after if error.status == HTTPStatus.TOO_MANY_REQUESTS else None
                if pause is None or time.monotonic() + pause > give_up:
                    raise
                time.sleep(pause)

    def _answer(self, request: urllib.request.Request) -> Any:
        try:
            with self._opener().open(request, timeout=self.timeout_seconds) as answer:
                return json.loads(answer.read())
        except urllib.error.HTTPError as error:
            raise _refusal(error) from error
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", None) or error
            origin = f", {self.origin}" if self.origin else ""
            raise Unreachable(
                f"{self.url} does not answer ({reason}{origin}): start it with `octollm up`, or name it with --url"
            ) from error
        except ValueError as error:
            raise Unreachable(f"{self.url} does not answer like an OctoLLM server (no JSON)") from error

    def _opener(self) -> urllib.request.OpenerDirector:
        handlers = (_PlainHandler, _SecureHandler)
        if urlsplit(self.url).hostname in _LOOPBACK:
            return urllib.request.build_opener(urllib.request.ProxyHandler({}), *handlers)
        return urllib.request.build_opener(*handlers)


class _Attentive(http.client.HTTPConnection):
    """A connection that reads the answer of a server that refuses a body before it has read it all."""

    def request(self, *arguments: Any, **options: Any) -> None:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            super().request(*arguments, **options)


class _AttentiveTLS(_Attentive, http.client.HTTPSConnection):
    """The same over TLS."""


class _PlainHandler(urllib.request.HTTPHandler):
    def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(_Attentive, req)


class _SecureHandler(urllib.request.HTTPSHandler):
    def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(_AttentiveTLS, req)


def find_server(access: Access) -> Server:
    """Return the server to talk to: as told, else the one that `octollm up` started; see devstack.home."""
    state = home.find()
    address, origin = access.url, ""
    if not address:
        address = read_stack_file(state.path).get("OCTOLLM_URL")
        origin = f"from {state.told}" if address else f"the default: {state.told}"
    address = (address or DEFAULT_URL).rstrip("/").removesuffix("/v1")
    if urlsplit(address).scheme not in ("http", "https"):
        raise SettingsError(f"--url {address}: must begin with http:// or https://")
    return Server(address, access.token or _local_token(state.path), origin=origin)


def _local_token(state: Path) -> str | None:
    """Sign a token for the tenant "local", if this machine holds the server's secret."""
    from orchestrator import settings  # noqa: PLC0415 - 0.2 s that a given token saves
    from orchestrator.auth import credential  # noqa: PLC0415

    try:
        known = settings.load_signing({**os.environ, "OCTOLLM_HOME": str(state)})
    except SettingsError:
        return None
    return credential.sign_token(
        known, tenant=LOCAL_TENANT, key_id="cli", scopes=credential.SCOPES, ttl=_TOKEN_SECONDS
    )


def _refusal(error: urllib.error.HTTPError) -> OctoError:
    """Read a problem+json answer: its message, and the fields at fault."""
    try:
        problem = json.loads(error.read())
        message = str(problem.get("message") or problem.get("detail"))
        faults = (problem.get("details") or {}).get("errors") or []
    except (ValueError, AttributeError, OSError):
        message, faults = f"{error.code} {error.reason}", []
    lines = [f"{fault.get('field')}: {fault.get('message')}" for fault in faults if isinstance(fault, dict)]
    told = "\n  ".join([message, *(line for line in lines if line not in message)])
    if error.code in (502, 503, 504):
        return Unreachable(told)
    hint = " Pass --token or OCTOLLM_TOKEN: see `octollm token --help`." if error.code == 401 else ""
    retry_after = error.headers.get("Retry-After") or ""
    return Refused(
        told + hint, status=error.code, retry_after=float(retry_after) if retry_after.isdigit() else None
    )
