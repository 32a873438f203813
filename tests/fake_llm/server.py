"""A model server without a model: speaks both providers' protocols, answers by script, and injects faults.

It marks all answers as fake: by a model name that begins with `fake-`, and by the header x-octollm-fake.
"""

import gzip
import json
import socket
import struct
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

from tests.fake_llm.answers import unscripted
from tests.fake_llm.faults import BODIES, STATUSES, Fault
from tests.fake_llm.protocols import (
    Answer,
    AnthropicWire,
    EmbeddingsWire,
    OpenAIWire,
    ResponsesWire,
    Wire,
    held_at,
)

PREFIX = "fake-"
_MAX_BODY_BYTES = 16 * 2**20
_FORMATS = {"response_format", "output_config", "text"}


@dataclass(frozen=True)
class Scripted:
    """What to do with one request: answer `text`, or fail; `raw` is sent unchanged, whatever the protocol.

    A `match` restricts it to requests that contain this text; it is used once, or with `stays` each time;
    `retry_after` goes with RATE_LIMITED. `finish` is the server's own word for why the answer ended ("" sends null).
    `in_parts` sends the content as a list of parts, `unstreamed` ignores a request for a stream, `gzipped` compresses,
    `without_usage` omits the usage. `ignores_schema` sees a schema only in the prompt's words. `thinking_tokens` are
    spent before the text and count against the request's output limit: what does not fit is cut. `status` and `headers`
    go with `raw`. A stream stops after the text `hold_after` until the test releases it, and
    waits `pause_seconds` after each part of 24 characters.
    """

    text: str | None = None
    fault: Fault = Fault.NONE
    match: str = ""
    retry_after: str | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    cached_tokens: int = 0
    raw: bytes | None = None
    stays: bool = False
    finish: str | None = None
    in_parts: bool = False
    unstreamed: bool = False
    gzipped: bool = False
    without_usage: bool = False
    thinking_tokens: int = 0
    ignores_schema: bool = False
    hold_after: str = ""
    pause_seconds: float = 0
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Received:
    """A received request; the names of its headers are in lower case."""

    path: str
    body: Mapping[str, Any]
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """Return its body as JSON text."""
        return json.dumps(self.body, ensure_ascii=False)


class FakeLLM:
    """The server, while its `with` block lasts; `url` is its address without a path.

    `openai_url` and `anthropic_url` are the values for OPENAI_BASE_URL and ANTHROPIC_BASE_URL.
    """

    def __init__(self, *, host: str = "127.0.0.1", port: int = 0) -> None:
        self.received: list[Received] = []
        self.stopping = threading.Event()
        self.released = threading.Event()
        self._script: list[Scripted] = []
        self._lock = threading.Lock()
        self._server = _Server((host, port), self)
        self.url = f"http://{host}:{self._server.server_port}"
        self.openai_url, self.anthropic_url = f"{self.url}/v1", self.url

    def __enter__(self) -> Self:
        threading.Thread(
            target=self._server.serve_forever, args=(0.05,), name="fake-llm", daemon=True
        ).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stopping.set()
        self._server.shutdown()
        self._server.server_close()

    def answer(self, *answers: str | Mapping[str, Any] | list[Any], match: str = "") -> None:
        """Script answers, one for each request; values other than strings are sent as JSON."""
        texts = (answer if isinstance(answer, str) else json.dumps(answer) for answer in answers)
        self.add(*(Scripted(text, match=match) for text in texts))

    def fail(self, *faults: Fault, match: str = "", retry_after: str | None = None) -> None:
        """Script faults, one for each request."""
        self.add(*(Scripted(fault=fault, match=match, retry_after=retry_after) for fault in faults))

    def add(self, *entries: Scripted) -> None:
        """Append entries to the script; a request uses the first one that matches it."""
        with self._lock:
            self._script.extend(entries)

    def release(self) -> None:
        """Send the rest of the streams that `hold_after` holds back, now and until `forget`."""
        self.released.set()

    def forget(self) -> None:
        """Clear the script and the received requests; hold streams back again."""
        self.released.clear()
        with self._lock:
            self._script.clear()
            self.received.clear()

    def take(self, request: Received) -> Scripted:
        """Record a request; return its entry: by script, else by the model's name, else an answer."""
        text = request.text
        with self._lock:
            self.received.append(request)
            for number, entry in enumerate(self._script):
                if entry.match in text:
                    return entry if entry.stays else self._script.pop(number)
        word = str(request.body.get("model", "")).removeprefix(PREFIX).replace("-", "_")
        return Scripted(fault=Fault(word)) if word in set(Fault) else Scripted()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], fake: FakeLLM) -> None:
        self.fake = fake
        super().__init__(address, _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Log nothing: clients that disconnect are expected."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # the standard library's name
        """Log nothing."""

    def do_GET(self) -> None:
        """Answer a health check."""
        self._json(200, {"object": "list", "data": [{"id": f"{PREFIX}model", "object": "model"}]})

    def do_POST(self) -> None:
        """Answer a request of either protocol."""
        wires: dict[str, Wire] = {
            "/v1/chat/completions": OpenAIWire(),
            "/v1/responses": ResponsesWire(),
            "/v1/messages": AnthropicWire(),
        }
        # a request through a proxy has the whole URL in its path
        wire = wires.get(urlsplit(self.path).path)
        body = self._body()
        if urlsplit(self.path).path == "/v1/embeddings":
            wire = EmbeddingsWire((body or {}).get("input"))
        if wire is None or body is None:
            wrong = wires["/v1/messages"].error(404, kind="not_found_error", message=f"No {self.path} here.")
            return self._json(404, wrong)
        self.wire = wire
        request = Received(self.path, body, {name.lower(): text for name, text in self.headers.items()})
        scripted = self.server.fake.take(request)
        if scripted.fault is Fault.NO_SCHEMA and not (_FORMATS & body.keys()):
            scripted = replace(scripted, fault=Fault.NONE)
        if scripted.raw is not None:
            return self._send(
                scripted.status, scripted.raw, kind="application/json", headers=scripted.headers
            )
        if scripted.fault in STATUSES:
            return self._refuse(scripted)
        if scripted.fault in BODIES:
            kind, content = BODIES[scripted.fault]
            return self._send(200, content, kind=kind)
        return self._respond(scripted, request)

    def _respond(self, scripted: Scripted, request: Received) -> None:
        answer = _answer_to(scripted, request)
        breaks: dict[Fault, Callable[[], None]] = {
            Fault.HANG: self._hang,
            Fault.RESET: self._reset,
            Fault.DRIP_HEADERS: self._drip_headers,
        }
        if scripted.fault in breaks:
            breaks[scripted.fault]()
        elif scripted.gzipped:
            self._send_packed(answer)
        elif request.body.get("stream") and not scripted.unstreamed:
            self._stream(answer, scripted, request)
        else:
            self._whole(answer, scripted.fault)

    def _send_packed(self, answer: Answer) -> None:
        content = gzip.compress(json.dumps(self.wire.whole(answer)).encode())
        self._send(200, content, kind="application/json", headers={"content-encoding": "gzip"})

    def _whole(self, answer: Answer, fault: Fault) -> None:
        content = json.dumps(self.wire.whole(answer)).encode()
        match fault:
            case Fault.DRIP:
                self._head(200, "application/json", len(content))
                self._drip(content)
            case Fault.FLOOD:
                self._head(200, "application/json", 2**40)
                self._flood()
            case Fault.CUT_BODY | Fault.TRUNCATED_STREAM | Fault.ERROR_IN_STREAM:
                self._head(200, "application/json", len(content))
                self.wfile.write(content[: len(content) // 2])
                self.close_connection = True
            case _:
                self._send(200, content, kind="application/json")

    def _stream(self, answer: Answer, scripted: Scripted, request: Received) -> None:
        options = request.body.get("stream_options") or {}
        events = list(self.wire.stream(answer, with_usage=bool(options.get("include_usage"))))
        self._head(200, "text/event-stream", None)
        self.close_connection = True
        match scripted.fault:
            case Fault.DRIP:
                self._drip(b"".join(events))
            case Fault.FLOOD:
                self._flood()
            case Fault.CUT_BODY | Fault.TRUNCATED_STREAM:
                self.wfile.write(b"".join(events[:2]))
            case Fault.ERROR_IN_STREAM:
                self.wfile.write(b"".join(events[:2]) + self.wire.error_event())
            case _ if scripted.pause_seconds:
                self._pace(events, scripted.pause_seconds)
            case _:
                at = held_at(events, answer, scripted.hold_after) if scripted.hold_after else 0
                self.wfile.write(b"".join(events[:at]))
                if at:
                    self._hold()
                self.wfile.write(b"".join(events[at:]))

    def _pace(self, events: Sequence[bytes], pause_seconds: float) -> None:
        for event in events:
            self.wfile.write(event)
            if self.server.fake.stopping.wait(pause_seconds):
                return

    def _hold(self) -> None:
        fake = self.server.fake
        while not (fake.released.wait(0.02) or fake.stopping.is_set()):
            pass

    def _refuse(self, scripted: Scripted) -> None:
        status, kind = STATUSES[scripted.fault]
        body = self.wire.error(status, kind=kind, message="The fake server refuses, as scripted.")
        headers = {"retry-after": scripted.retry_after} if scripted.retry_after is not None else {}
        self._json(status, body, headers=headers)

    def _hang(self) -> None:
        self.server.fake.stopping.wait()
        self.close_connection = True

    def _reset(self) -> None:
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True
        self.connection.close()

    def _drip_headers(self) -> None:
        self._drip(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nx-filler: " + b"." * 1000)

    def _drip(self, content: bytes) -> None:
        """Send one byte at a time, so fast that no single read times out."""
        self.close_connection = True
        for byte in content:
            self.wfile.write(bytes([byte]))
            if self.server.fake.stopping.wait(0.2):
                return

    def _flood(self) -> None:
        self.close_connection = True
        part = b'data: {"filler": "' + b"." * 2**16 + b'"}\n\n'
        while not self.server.fake.stopping.is_set():
            self.wfile.write(part)

    def _body(self) -> dict[str, Any] | None:
        length = int(self.headers.get("content-length") or 0)
        if length > _MAX_BODY_BYTES:
            return None
        try:
            body = json.loads(self.rfile.read(length))
        except ValueError:
            return None
        return body if isinstance(body, dict) else None

    def _json(
        self, status: int, body: Mapping[str, Any], *, headers: Mapping[str, str] | None = None
    ) -> None:
        self._send(status, json.dumps(body).encode(), kind="application/json", headers=headers)

    def _send(
        self, status: int, content: bytes, *, kind: str, headers: Mapping[str, str] | None = None
    ) -> None:
        self._head(status, kind, len(content), headers=headers)
        self.wfile.write(content)

    def _head(
        self, status: int, kind: str, length: int | None, *, headers: Mapping[str, str] | None = None
    ) -> None:
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("x-octollm-fake", "true")
        for name, value in {
            **(headers or {}),
            **({} if length is None else {"content-length": str(length)}),
        }.items():
            self.send_header(name, value)
        if length is None:
            self.send_header("connection", "close")
        self.end_headers()


def _answer_to(scripted: Scripted, request: Received) -> Answer:
    unseen = _FORMATS if scripted.ignores_schema else ()
    seen = {name: value for name, value in request.body.items() if name not in unseen}
    text = scripted.text if scripted.text is not None else unscripted(seen)
    if scripted.fault is Fault.EMPTY:
        text = ""
    if scripted.fault is Fault.LENGTH:
        text = text[: max(1, len(text) // 2)]
    finish = scripted.fault.value if scripted.fault in (Fault.REFUSAL, Fault.LENGTH) else "stop"
    model = str(request.body.get("model", "model"))
    # English has about four characters per token
    limit = request.body.get("max_tokens") or request.body.get("max_completion_tokens") or 10**9
    output_tokens = scripted.thinking_tokens + max(1, len(text) // 4)
    if scripted.thinking_tokens and output_tokens > limit:
        text, finish, output_tokens = text[: 4 * max(0, limit - scripted.thinking_tokens)], "length", limit
    return Answer(
        text=text,
        finish=finish,
        model=model if model.startswith(PREFIX) else PREFIX + model,
        input_tokens=scripted.input_tokens or max(1, len(json.dumps(_asked(request.body))) // 4),
        output_tokens=scripted.output_tokens or output_tokens,
        cached_tokens=scripted.cached_tokens,
        own_finish=scripted.finish,
        in_parts=scripted.in_parts,
        has_usage=not scripted.without_usage,
    )


def _asked(body: Mapping[str, Any]) -> Any:
    return body.get("messages", body.get("input"))
