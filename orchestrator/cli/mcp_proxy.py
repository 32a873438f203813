"""The command mcp: passes the messages of an MCP host, one a line, from stdin to the server's POST /mcp and back."""

import base64
import json
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from http import HTTPStatus
from typing import Any, BinaryIO

import click

from orchestrator.cli.client import ApiClient, ServerOptions, open_client
from orchestrator.cli.exit_status import EXIT_STATUSES
from orchestrator.models.errors import OctoError

MAX_LINE_BYTES = 4 * 2**20
MAX_AT_ONCE = 16
"""Messages that are on their way at the same time; further ones wait in the pipe."""
_VERSION = "io.modelcontextprotocol/protocolVersion"
_NAMED = {"tools/call": "name", "prompts/get": "name", "resources/read": "uri"}
_PARSE_ERROR, _INTERNAL_ERROR = -32700, -32603
# more than the server waits, and less than a token of `open_client` lasts
_TIMEOUT_SECONDS = 60.0
_CLIENT_SECONDS = 600.0


class Proxy:
    """Passes messages on, several at the same time; `write` gets one line for each answer. Thread-safe."""

    def __init__(self, open_api: Callable[[], ApiClient], write: Callable[[str], object]) -> None:
        self._open_api = open_api
        self._write = write
        self._lock = threading.Lock()
        self._client: ApiClient | None = None
        self._opened_at = 0.0
        self._version: str | None = None

    def pass_on(self, line: bytes) -> None:
        """Send one message, and write the answer: to a request exactly one, to a notification none."""
        message = _parsed(line)
        if message is None:
            self._reply(None, _error(_PARSE_ERROR, "Not a JSON object in one line."))
            return
        is_request = "id" in message and "method" in message
        try:
            answer = self._sent(line, message)
        except OctoError as error:
            answer = _error(_INTERNAL_ERROR, error.message)
        except Exception as error:
            # a host waits for the answer to each request
            answer = _error(_INTERNAL_ERROR, f"octollm mcp: {type(error).__name__}")
        if is_request:
            self._reply(message["id"], answer)

    def _sent(self, line: bytes, message: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the members of the answer besides its id."""
        status, content = self._api().exchange("/mcp", line, headers=self._headers(message))
        answer = _parsed(content) or {}
        if answer.get("jsonrpc") != "2.0":
            text = answer.get("message") or f"{status} without an MCP message; is this an OctoLLM server?"
            hint = " Set OCTOLLM_TOKEN to an API key." if status == HTTPStatus.UNAUTHORIZED else ""
            return _error(_INTERNAL_ERROR, f"{text}{hint}")
        result = answer.get("result")
        if message.get("method") == "initialize" and isinstance(result, dict):
            self._version = str(result.get("protocolVersion"))
        return {name: answer[name] for name in ("result", "error") if name in answer}

    def _headers(self, message: Mapping[str, Any]) -> dict[str, str]:
        """Return what a message of 2026-07-28 repeats in headers; before it only the version that was agreed on."""
        params, method = message.get("params"), message.get("method")
        meta = params.get("_meta") if isinstance(params, dict) else None
        version = meta.get(_VERSION) if isinstance(meta, dict) else None
        headers = {"Content-Type": "application/json"}
        if not isinstance(version, str) or not isinstance(method, str) or not isinstance(params, dict):
            agreed = {"MCP-Protocol-Version": self._version} if self._version else {}
            return headers | agreed
        headers |= {"MCP-Protocol-Version": _header(version), "Mcp-Method": _header(method)}
        name = params.get(_NAMED.get(method, ""))
        return {**headers, "Mcp-Name": _header(name)} if isinstance(name, str) else headers

    def _api(self) -> ApiClient:
        with self._lock:
            if self._client is None or time.monotonic() - self._opened_at > _CLIENT_SECONDS:
                self._client = replace(self._open_api(), timeout_seconds=_TIMEOUT_SECONDS)
                self._opened_at = time.monotonic()
            return self._client

    def _reply(self, message_id: Any, answer: Mapping[str, Any]) -> None:
        text = json.dumps({"jsonrpc": "2.0", "id": message_id, **answer})
        with self._lock:
            self._write(text + "\n")


@click.command(epilog=EXIT_STATUSES)
@click.pass_obj
def mcp(access: ServerOptions, /) -> None:
    """Be an MCP server on stdin and stdout, for hosts that start one: its tools submit and follow tasks.

    The server that runs the tasks is found as by the other commands: OCTOLLM_URL, and OCTOLLM_TOKEN, which may here be
    an API key.
    """

    def write(text: str) -> None:
        sys.stdout.write(text)
        sys.stdout.flush()

    serve(Proxy(lambda: open_client(access), write), sys.stdin.buffer)


def serve(proxy: Proxy, lines: BinaryIO) -> None:
    """Pass on each line, each in a thread of its own, until the end; then wait for the answers that are due."""
    room = threading.BoundedSemaphore(MAX_AT_ONCE)
    running: list[threading.Thread] = []

    def work(line: bytes) -> None:
        try:
            proxy.pass_on(line)
        finally:
            room.release()

    while line := lines.readline(MAX_LINE_BYTES + 1):
        while (
            len(line) > MAX_LINE_BYTES
            and not line.endswith(b"\n")
            and (rest := lines.readline(MAX_LINE_BYTES))
        ):
            # too long: not kept, and no JSON any more
            line = b"x" * MAX_LINE_BYTES + rest[-1:]
        if not line.strip():
            continue
        room.acquire()
        running = [thread for thread in running if thread.is_alive()]
        running.append(threading.Thread(target=work, args=(line,), daemon=True))
        running[-1].start()
    for thread in running:
        thread.join()


def _parsed(content: bytes) -> dict[str, Any] | None:
    try:
        value = json.loads(content)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _error(code: int, message: str) -> dict[str, Any]:
    return {"error": {"code": code, "message": message}}


def _header(value: str) -> str:
    """Return a text as a header's value: what is not plain ASCII in the form =?base64?...?=."""
    if value.isascii() and value.isprintable() and value == value.strip() and not value.startswith("=?"):
        return value
    return f"=?base64?{base64.b64encode(value.encode('utf-8', 'surrogatepass')).decode()}?="
