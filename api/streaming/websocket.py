"""Streams a task's events over a WebSocket, and handles the client's messages: ping and cancel."""

import contextlib
import json
import socket
import struct
import threading
import time
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import structlog
from flask import Blueprint, Flask, Response, g, request
from flask_sock import Sock
from marshmallow import EXCLUDE, Schema, fields, validate
from simple_websocket import ConnectionClosed, Server
from sqlalchemy.exc import SQLAlchemyError
from werkzeug.exceptions import BadRequest, HTTPException
from wsproto.utilities import ProtocolError

from api.middleware import audit, context, problem
from api.middleware.auth import authorize
from api.middleware.task_access import find_task_after
from api.schemas.requests import MAX_SEQ, read
from api.streaming.admission import SUBPROTOCOL, AccessRecheck, admit
from api.streaming.hub import EndReason, Subscription, TooSlow, current_hub
from orchestrator.auth.credential import Principal
from orchestrator.models.errors import Forbidden, InvalidCredential, OctoError

MAX_MESSAGE_BYTES = 4096
MAX_UNREAD_MESSAGES = 64
PING_SECONDS = 25.0
_PING = b"\x89\x00"
_CLOSE_SECONDS = 1.0
# what the kernel may hold for a stream; beyond it a client that does not read is noticed
_SEND_BUFFER_BYTES = 64 * 1024
_SEND_TIMEOUT = struct.pack("ll", 10, 0)

log = structlog.get_logger(__name__)
blueprint = Blueprint("websocket", __name__, url_prefix="/v1/tasks")
sock = Sock()


class StreamQuerySchema(Schema):
    """Where a stream starts, and whether it has transient events; a ticket replaces a token."""

    after = fields.Integer(load_default=0, validate=validate.Range(0, MAX_SEQ))
    progress = fields.Boolean(load_default=False)
    ticket = fields.String(load_default=None)


class Close(NamedTuple):
    """Why the server closes a stream: a code of RFC 6455 or of our own, and a short reason."""

    code: int
    reason: str


DONE = Close(1000, "the task has ended")
RESTART = Close(1001, "the server restarts: reconnect with ?after=")
MALFORMED = Close(1008, 'only {"type": "ping"} and {"type": "cancel"} are accepted')
SILENT = Close(1008, "no reply to a ping")
FAILED = Close(1011, "internal error: see the server's log")
TOO_SLOW = Close(1013, "too slow: reconnect with ?after=")
AWAY = Close(1013, "the database is away: reconnect with ?after=")
EXPIRED = Close(4401, "the token has expired or was revoked")
GONE = Close(4404, "the task no longer exists")
_CLOSES = {EndReason.DONE: DONE, EndReason.GONE: GONE, EndReason.RESTART: RESTART}
_STREAM = StreamQuerySchema(unknown=EXCLUDE)


@dataclass(frozen=True)
class OpenStream:
    """State of one stream, from before its upgrade to its end; `wakeup` is set for events and for messages."""

    principal: Principal
    recheck: AccessRecheck
    subscription: Subscription
    wakeup: threading.Event


class LockedSocket:
    """A socket whose `send` writes everything under a lock; all other attributes are the socket's own.

    simple-websocket 1.1.0 takes a partial `send` for a complete one, and its reader answers pings in the middle of
    other threads' frames. A write that makes no progress for 10 s fails. The server that accepted the socket counts
    its connections by closing them itself, so `close` only shuts the connection down.
    """

    def __init__(self, wrapped: socket.socket) -> None:
        self._wrapped = wrapped
        self._lock = threading.Lock()
        wrapped.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES)
        wrapped.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, _SEND_TIMEOUT)

    def send(self, content: bytes) -> int:
        """Write all of `content`. Raises OSError if the client is gone or does not read."""
        with self._lock:
            try:
                self._wrapped.sendall(content)
            except OSError:
                # half a frame may have been sent: nothing can follow it
                self.close()
                raise
        return len(content)

    def close(self) -> None:
        """Shut the connection down in both directions; calling twice is safe."""
        with contextlib.suppress(OSError):
            self._wrapped.shutdown(socket.SHUT_RDWR)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._wrapped, name)


def install(app: Flask) -> None:
    """Add the endpoint; simple-websocket sets the same event for a message as the hub sets for events."""
    app.config["SOCK_SERVER_OPTIONS"] = {
        "subprotocols": [SUBPROTOCOL],
        "max_message_size": MAX_MESSAGE_BYTES,
        "event_class": lambda: cast(OpenStream, g.stream).wakeup,
    }
    app.register_blueprint(blueprint)


@blueprint.before_request
def _open() -> None:
    """Answer 401, 403, 404, 409, 422 and 503 like any other endpoint, before the upgrade."""
    request.prom_do_not_track = True  # type: ignore[attr-defined]  # prometheus_flask_exporter reads it
    task_id = (request.view_args or {})["task_id"]
    principal = admit(task_id, "task:read")
    query = read(_STREAM, request.args)
    task = find_task_after(principal, task_id, query["after"])
    wakeup = threading.Event()
    subscription = current_hub().subscribe(
        task, after=query["after"], callback=wakeup.set, wants_progress=query["progress"]
    )
    g.stream = OpenStream(principal, AccessRecheck(principal, "task:read"), subscription, wakeup)
    # permessage-deflate doubles a socket's memory and gains nothing on events of 300 bytes
    request.environ.pop("HTTP_SEC_WEBSOCKET_EXTENSIONS", None)
    for name in ("gunicorn.socket", "werkzeug.socket"):
        if name in request.environ:
            request.environ[name] = LockedSocket(request.environ[name])


@blueprint.teardown_request
def _unsubscribe(_error: BaseException | None) -> None:
    if "stream" in g:
        cast(OpenStream, g.stream).subscription.close()


@blueprint.errorhandler(ProtocolError)
@blueprint.errorhandler(UnicodeError)
def _refuse_handshake(_error: Exception) -> Response | HTTPException:
    return problem.from_http(BadRequest())


@sock.route("/<task_id>/stream", bp=blueprint)  # type: ignore[untyped-decorator]  # theirs
def stream(ws: Server, task_id: str) -> None:
    """Send the task's events after number `after`, one JSON text each, until the last one."""
    opened = cast(OpenStream, g.stream)
    try:
        close = _run(ws, opened, task_id)
    except (ConnectionClosed, OSError):
        return
    except TooSlow:
        close = TOO_SLOW
    except SQLAlchemyError as error:
        log.warning("stream.cut", error=type(error).__name__)
        close = AWAY
    except Exception:
        # an HTTP error response would be sent inside the WebSocket
        log.exception("stream.failed")
        close = FAILED
    _close(ws, close)


def _run(ws: Server, opened: OpenStream, task_id: str) -> Close:
    """Send events and handle messages until there is a reason to close."""
    subscription, wakeup = opened.subscription, opened.wakeup
    ping_at = time.monotonic() + PING_SECONDS
    while True:
        if not _handle_messages(ws, opened.principal, task_id):
            return MALFORMED
        frames = subscription.next_frames()
        texts = [frame.text for frame in frames] + subscription.take_progress()
        if texts:
            ws.sock.send(b"".join(map(text_frame, texts)))
        if subscription.end is not None:
            return _CLOSES[subscription.end]
        if time.monotonic() >= ping_at:
            if not ws.pong_received:
                return SILENT
            ws.pong_received = False
            ws.sock.send(_PING)
            ping_at = time.monotonic() + PING_SECONDS
        try:
            opened.recheck.require()
        except (InvalidCredential, Forbidden):
            return EXPIRED
        if not texts:
            wakeup.wait(max(0.0, min(opened.recheck.seconds_left, ping_at - time.monotonic())))
            wakeup.clear()


def _handle_messages(ws: Server, principal: Principal, task_id: str) -> bool:
    """Handle the messages received so far; return False if one is malformed or there are too many."""
    if len(ws.input_buffer) > MAX_UNREAD_MESSAGES:
        return False
    while (message := ws.receive(timeout=0)) is not None:
        match _type_of(message):
            case "ping":
                _send(ws, {"type": "pong"})
            case "cancel":
                _cancel(ws, principal, task_id)
            case _:
                return False
    return True


def _type_of(message: str | bytes) -> Any:
    try:
        decoded = json.loads(message)
    except (ValueError, RecursionError):
        return None
    return decoded.get("type") if isinstance(decoded, dict) else None


def _cancel(ws: Server, principal: Principal, task_id: str) -> None:
    """Cancel the task; the reply is its event task.cancelled, or an error that leaves the stream open."""
    try:
        authorize(principal, "task:cancel")
        context.orchestrator().cancel(tenant=principal.tenant, task_id=task_id)
        audit.record_action("task.cancel", target=task_id)
    except OctoError as error:
        audit.record_action("task.cancel", target=task_id, error=error)
        _send(ws, {"type": "error", "error": {"code": error.code, "message": error.message}})


def _send(ws: Server, message: dict[str, Any]) -> None:
    ws.sock.send(text_frame(json.dumps(message)))


def _close(ws: Server, close: Close) -> None:
    """Send the close frame, give the client _CLOSE_SECONDS to answer it, and shut the connection down."""
    try:
        ws.close(close.code, close.reason)
    except (ConnectionClosed, ProtocolError, OSError):
        pass
    else:
        ws.thread.join(_CLOSE_SECONDS)
    ws.sock.close()


def text_frame(text: str) -> bytes:
    """Return a server's unfragmented text frame (RFC 6455, 5.2)."""
    payload = text.encode()
    size = len(payload)
    if size < 126:
        return b"\x81" + size.to_bytes(1, "big") + payload
    if size < 2**16:
        return b"\x81\x7e" + size.to_bytes(2, "big") + payload
    return b"\x81\x7f" + size.to_bytes(8, "big") + payload
