"""A task's events over a WebSocket, and what its client may say there: ping, cancel."""

import json
import threading
import time
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import structlog
from flask import Blueprint, Flask, Response, g, request
from flask_sock import Sock
from simple_websocket import ConnectionClosed, Server
from sqlalchemy.exc import SQLAlchemyError
from werkzeug.exceptions import BadRequest, HTTPException
from wsproto.utilities import ProtocolError

from api.middleware import audit, context, problem
from api.middleware.auth import permit
from api.middleware.right import Right
from api.routes.status import find
from api.schemas import requests
from api.streaming.admission import SUBPROTOCOL, admit
from api.streaming.hub import End, TooSlow, Watch
from api.streaming.locked_socket import LockedSocket
from orchestrator.auth.credential import Principal
from orchestrator.models.errors import Forbidden, InvalidCredential, OctoError

MAX_MESSAGE_BYTES = 4096
MAX_UNREAD_MESSAGES = 64
PING_SECONDS = 25.0
_PING = b"\x89\x00"
_GOODBYE_SECONDS = 1.0

log = structlog.get_logger(__name__)
blueprint = Blueprint("websocket", __name__, url_prefix="/v1/tasks")
sock = Sock()


class Close(NamedTuple):
    """Why the server ends a stream: a code of RFC 6455 or of our own, and a few words."""

    code: int
    reason: str


DONE = Close(1000, "the task has ended")
RESTART = Close(1001, "this server restarts: come back with ?after=")
MALFORMED = Close(1008, 'only {"type": "ping"} and {"type": "cancel"} are understood')
SILENT = Close(1008, "no answer to a ping")
FAILED = Close(1011, "something went wrong here; the log says more")
TOO_SLOW = Close(1013, "too slow: come back with ?after=")
AWAY = Close(1013, "the database is away: come back with ?after=")
EXPIRED = Close(4401, "the token has expired or was revoked")
GONE = Close(4404, "there is no such task any more")
_CLOSES = {End.DONE: DONE, End.GONE: GONE, End.RESTART: RESTART}


@dataclass(frozen=True)
class Stream:
    """What belongs to one stream from before its upgrade to its end."""

    principal: Principal
    right: Right
    watch: Watch
    bell: threading.Event


def install(app: Flask) -> None:
    """Add the endpoint; the bell that simple-websocket rings for a message is the one that the hub rings."""
    app.config["SOCK_SERVER_OPTIONS"] = {
        "subprotocols": [SUBPROTOCOL],
        "max_message_size": MAX_MESSAGE_BYTES,
        "event_class": lambda: cast(Stream, g.stream).bell,
    }
    app.register_blueprint(blueprint)


@blueprint.before_request
def _open() -> None:
    """Answer 401, 403, 404, 422 and 503 as any endpoint would, before the upgrade."""
    request.prom_do_not_track = True  # type: ignore[attr-defined]  # prometheus_flask_exporter reads it
    task_id = (request.view_args or {})["task_id"]
    principal = admit(task_id, "task:read")
    query = requests.read(requests.STREAM, request.args)
    task = find(principal, task_id)
    bell = threading.Event()
    watch = context.hub().watch(task, after=query["after"], ring=bell.set)
    g.stream = Stream(principal, Right(principal, "task:read"), watch, bell)
    # permessage-deflate doubles a socket's memory and does nothing for events of 300 bytes
    request.environ.pop("HTTP_SEC_WEBSOCKET_EXTENSIONS", None)
    for name in ("gunicorn.socket", "werkzeug.socket"):
        if name in request.environ:
            request.environ[name] = LockedSocket(request.environ[name])


@blueprint.teardown_request
def _leave(_error: BaseException | None) -> None:
    if "stream" in g:
        cast(Stream, g.stream).watch.close()


@blueprint.errorhandler(ProtocolError)
@blueprint.errorhandler(UnicodeError)
def _refuse_handshake(_error: Exception) -> Response | HTTPException:
    return problem.from_http(BadRequest())


@sock.route("/<task_id>/stream", bp=blueprint)  # type: ignore[untyped-decorator]  # theirs
def stream(ws: Server, task_id: str) -> None:
    """Send the task's events after number `after`, one JSON text each, until its last one."""
    opened = cast(Stream, g.stream)
    try:
        close = _converse(ws, opened, task_id)
    except (ConnectionClosed, OSError):
        return
    except TooSlow:
        close = TOO_SLOW
    except SQLAlchemyError as error:
        log.warning("stream.cut", error=type(error).__name__)
        close = AWAY
    except Exception:
        # an answer in HTTP would land inside the WebSocket
        log.exception("stream.failed")
        close = FAILED
    _say_goodbye(ws, close)


def _converse(ws: Server, opened: Stream, task_id: str) -> Close:
    """Send what there is and hear what is said, until there is a reason to close."""
    watch, bell = opened.watch, opened.bell
    ping_at = time.monotonic() + PING_SECONDS
    while True:
        if not _hear(ws, opened.principal, task_id):
            return MALFORMED
        frames = watch.take()
        if frames:
            ws.sock.send(b"".join(text_frame(frame.text) for frame in frames))
        if watch.end is not None:
            return _CLOSES[watch.end]
        if time.monotonic() >= ping_at:
            if not ws.pong_received:
                return SILENT
            ws.pong_received = False
            ws.sock.send(_PING)
            ping_at = time.monotonic() + PING_SECONDS
        try:
            opened.right.require()
        except (InvalidCredential, Forbidden):
            return EXPIRED
        if not frames:
            bell.wait(max(0.0, min(opened.right.seconds_left, ping_at - time.monotonic())))
            bell.clear()


def _hear(ws: Server, principal: Principal, task_id: str) -> bool:
    """Do what the client asked since last time; False when that can't be understood, or is too much."""
    if len(ws.input_buffer) > MAX_UNREAD_MESSAGES:
        return False
    while (message := ws.receive(timeout=0)) is not None:
        match _kind(message):
            case "ping":
                _send(ws, {"type": "pong"})
            case "cancel":
                _cancel(ws, principal, task_id)
            case _:
                return False
    return True


def _kind(message: str | bytes) -> Any:
    try:
        decoded = json.loads(message)
    except (ValueError, RecursionError):
        return None
    return decoded.get("type") if isinstance(decoded, dict) else None


def _cancel(ws: Server, principal: Principal, task_id: str) -> None:
    """Cancel the task; the event of it is the answer, or an error that ends nothing."""
    try:
        permit(principal, "task:cancel")
        context.orchestrator().cancel(tenant=principal.tenant, task_id=task_id)
        audit.note("task.cancel", thing=task_id)
    except OctoError as error:
        audit.note("task.cancel", thing=task_id, error=error)
        _send(ws, {"type": "error", "error": {"code": error.code, "message": error.message}})


def _send(ws: Server, message: dict[str, Any]) -> None:
    ws.sock.send(text_frame(json.dumps(message)))


def _say_goodbye(ws: Server, close: Close) -> None:
    """Send the close frame, give the client a moment to answer it, and end the conversation."""
    try:
        ws.close(close.code, close.reason)
    except (ConnectionClosed, ProtocolError, OSError):
        pass
    else:
        ws.thread.join(_GOODBYE_SECONDS)
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
