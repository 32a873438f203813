"""MCP servers over streamable HTTP: reached only where the operator allows it, and bounded like local ones."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from mcp.server.mcpserver import MCPServer
from mcp_types import ToolAnnotations
from sqlalchemy import Engine

from orchestrator.auth.egress import EgressRules
from orchestrator.models.errors import OutputTooLarge, StepError, ToolFailed, ToolServerLost
from orchestrator.models.mcp_tools import sha256_of
from orchestrator.settings import Settings
from tests.integration.attempt_kit import process_of, run_step
from tests.integration.kit import Engineer
from tests.mcp_kit import freeze_arm, using
from tests.waiting import wait_until
from workers.attempt.context import AttemptContext
from workers.mcp.connections import CONNECTIONS
from workers.mcp.http import HttpPeer
from workers.mcp.session import Call
from workers.sandbox.selection import NOT_TESTED


def rules_for(*targets: str) -> EgressRules:
    """Return rules that allow these host:port pairs, without TLS too."""
    return EgressRules("url", "ARM_ALLOWED_HOSTS", (), targets, allows_plain=True)


@contextmanager
def sdk_server() -> Iterator[str]:
    """Serve the SDK's own server over HTTP; gives its host:port."""
    server = MCPServer("greeter", version="2.1")

    @server.tool(annotations=ToolAnnotations(read_only_hint=True))
    def greet(name: str) -> str:
        """Greets somebody."""
        return f"Hello, {name}"

    config = uvicorn.Config(server.streamable_http_app(), host="127.0.0.1", port=0, log_level="critical")
    running = uvicorn.Server(config)
    thread = threading.Thread(target=running.run, daemon=True)
    thread.start()
    try:
        wait_until(lambda: running.started, 30, "the server")
        yield f"127.0.0.1:{running.servers[0].sockets[0].getsockname()[1]}"
    finally:
        running.should_exit = True
        thread.join(30)


Answer = Callable[["_Handler", dict[str, Any]], None]


class _Handler(BaseHTTPRequestHandler):
    call: Answer

    def do_POST(self) -> None:
        """Answer as a server of 2026-07-28 that keeps no session."""
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if asked.get("method") == "tools/call":
            type(self).call(self, asked)
        elif asked.get("method") == "tools/list":
            tool = {"name": "write", "inputSchema": {"type": "object", "properties": {}}}
            self.reply(
                asked, {"tools": [tool], "resultType": "complete", "ttlMs": 0, "cacheScope": "private"}
            )
        else:
            about = {
                "supportedVersions": ["2026-07-28"],
                "capabilities": {"tools": {}},
                "resultType": "complete",
            }
            self.reply(asked, {**about, "ttlMs": 0, "cacheScope": "private"})

    def reply(self, asked: dict[str, Any], result: dict[str, Any]) -> None:
        """Send a result as JSON."""
        body = json.dumps({"jsonrpc": "2.0", "id": asked["id"], "result": result}).encode()
        self.start({"Content-Length": str(len(body))})
        self.wfile.write(body)

    def start(self, headers: dict[str, str], status: int = 200) -> None:
        """Send status and headers."""
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", **headers}.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Print nothing."""


@contextmanager
def odd_server(call: Answer) -> Iterator[str]:
    """Serve a tool whose call is answered by `call`; gives host:port."""
    handler = type("Handler", (_Handler,), {"call": staticmethod(call)})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


def endless(handler: _Handler, _asked: dict[str, Any]) -> None:
    """Send a body without end."""
    handler.start({})
    try:
        while True:
            handler.wfile.write(b" " * 65_536)
    except OSError:
        return


def endless_events(handler: _Handler, _asked: dict[str, Any]) -> None:
    """Send events without end."""
    handler.start({"Content-Type": "text/event-stream"})
    event = json.dumps(
        {"jsonrpc": "2.0", "method": "notifications/message", "params": {"data": "x" * 10_000}}
    )
    try:
        while True:
            handler.wfile.write(f"event: message\ndata: {event}\n\n".encode())
    except OSError:
        return


def hang_up(handler: _Handler, _asked: dict[str, Any]) -> None:
    """Close the connection without an answer."""
    handler.close_connection = True
    handler.connection.close()


def compress(handler: _Handler, _asked: dict[str, Any]) -> None:
    """Answer with what could be a bomb."""
    handler.start({"Content-Encoding": "gzip", "Content-Length": "4"})
    handler.wfile.write(b"bomb")


def redirect(handler: _Handler, _asked: dict[str, Any]) -> None:
    """Send the client to a private address."""
    handler.start({"Location": "http://169.254.169.254/latest/meta-data", "Content-Length": "0"}, 307)


def called(target: str) -> None:
    """Call the tool `write` of a server; raises what the session raises."""
    peer = HttpPeer.of({"url": f"http://{target}/mcp"}, (), rules_for(target))
    described = CONNECTIONS.describe("odd", lambda: peer, checkpoint=lambda: None)
    try:
        CONNECTIONS.call(
            "odd", lambda: peer, Call("write", sha256_of(described["tools"][0]), {}), checkpoint=lambda: None
        )
    finally:
        CONNECTIONS.close()


def test_a_plan_s_step_calls_a_server_at_a_url_that_the_operator_allows(
    engine: Engine, our_settings: Settings, tmp_path: Path
) -> None:
    with sdk_server() as target:
        engineer = Engineer(engine, replace(our_settings, arm_local_targets=(target,)))
        freeze_arm(
            tmp_path / "arms",
            "greeter",
            {"url": f"http://{target}/mcp"},
            sandbox=NOT_TESTED,
            rules=rules_for(target),
        )
        with using(tmp_path / "arms"):
            step = {
                "id": "a",
                "arm": "greeter",
                "action": "greet",
                "inputs": {"name": "Ada"},
                "depends_on": [],
            }
            claim = engineer.take(engineer.start(step), "a")
            result = run_step(AttemptContext.of(process_of(engineer), claim))

    assert result.error is None, result.error
    assert result.output["structured"] == {"result": "Hello, Ada"}
    assert result.provenance["isolation"] == "not_needed"


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:9/mcp",
        "https://example.org/mcp",
        "https://10.0.0.1/mcp",
        "ftp://x/y",
        "https://a@b.c/",
    ],
)
def test_a_url_that_the_operator_does_not_allow_is_not_contacted(url: str) -> None:
    with pytest.raises(ToolFailed, match="the MCP server's url"):
        HttpPeer.of({"url": url}, (), rules_for("127.0.0.1:10"))


def test_a_header_takes_its_secret_from_a_variable_that_the_manifest_names(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TOKEN", "s3cret")
    table = {"url": "http://127.0.0.1:9/mcp", "headers": {"Authorization": "Bearer {TOKEN}"}}

    peer = HttpPeer.of(table, ["TOKEN"], rules_for("127.0.0.1:9"))

    assert peer.headers == {"Authorization": "Bearer s3cret"}
    assert "s3cret" not in repr(peer)
    with pytest.raises(ToolFailed, match="needs TOKEN"):
        HttpPeer.of(table, [], rules_for("127.0.0.1:9"))


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (endless, OutputTooLarge),
        pytest.param(endless_events, OutputTooLarge, marks=pytest.mark.slow),
        (hang_up, StepError),
        (compress, StepError),
        (redirect, StepError),
    ],
)
def test_a_server_that_misbehaves_fails_its_call_and_nothing_else(
    call: Answer, error: type[StepError]
) -> None:
    with odd_server(call) as target, pytest.raises(error):
        called(target)


def test_nobody_at_the_url_is_a_lost_server() -> None:
    with odd_server(hang_up) as target:
        pass

    with pytest.raises(ToolServerLost):
        called(target)
