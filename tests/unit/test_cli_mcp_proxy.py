"""`octollm mcp` answers each request with one line, whatever a host writes and whether or not the server answers."""

import io
import json
from typing import Any

import pytest

from orchestrator.cli import mcp_proxy
from orchestrator.cli.client import ApiClient
from orchestrator.cli.mcp_proxy import Proxy, serve


def answers(*lines: bytes) -> list[Any]:
    """Return what a host reads that wrote these lines, with a server that does not answer."""
    written: list[str] = []
    serve(Proxy(lambda: ApiClient("http://127.0.0.1:1"), written.append), io.BytesIO(b"\n".join(lines)))
    assert all(text.endswith("\n") and text.count("\n") == 1 for text in written)
    return [json.loads(text) for text in written]


def test_a_server_that_does_not_answer_is_an_error_of_the_request() -> None:
    [answer] = answers(b'{"jsonrpc": "2.0", "id": "a", "method": "ping"}')

    assert (answer["id"], answer["error"]["code"]) == ("a", -32603)
    assert "octollm up" in answer["error"]["message"]


def test_a_notification_and_an_empty_line_get_no_answer() -> None:
    assert answers(b'{"jsonrpc": "2.0", "method": "notifications/initialized"}', b"", b"  ") == []


@pytest.mark.parametrize("line", [b"{", b"[]", b"1", b"\xff", b"[" * 100_000])
def test_what_is_no_message_is_a_parse_error(line: bytes) -> None:
    [answer] = answers(line)

    assert (answer["id"], answer["error"]["code"]) == (None, -32700)


def test_a_line_that_is_too_long_is_refused_and_the_next_one_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mcp_proxy, "MAX_LINE_BYTES", 60)
    long = b'{"jsonrpc": "2.0", "id": 1, "method": "' + b"x" * 500 + b'"}'

    found = answers(long, b'{"jsonrpc": "2.0", "id": 2, "method": "ping"}')

    assert sorted((answer["id"] or 0, answer["error"]["code"]) for answer in found) == [
        (0, -32700),
        (2, -32603),
    ]
