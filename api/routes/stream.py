"""A task's numbered events over HTTP, from any number on: in pages, or as server-sent events."""

import threading
from collections.abc import Iterator

import structlog
from flask import Blueprint, Flask, Response, jsonify, request
from sqlalchemy.exc import SQLAlchemyError
from werkzeug.exceptions import HTTPException

from api.middleware import context
from api.middleware.auth import requires
from api.middleware.right import Right
from api.routes.status import find
from api.schemas import requests, responses, serializers
from api.schemas.operation import describes
from api.streaming import tickets, websocket
from api.streaming.admission import admits
from api.streaming.hub import End, TooSlow, Watch
from orchestrator.auth.credential import Principal
from orchestrator.memory import events
from orchestrator.memory.tasks import TaskRecord
from orchestrator.memory.tenancy import tenant_statement
from orchestrator.models.errors import Forbidden, InvalidCredential

SSE = "text/event-stream"
_PING_SECONDS = 15.0
_RETRY_MS = 1000

log = structlog.get_logger(__name__)
blueprint = Blueprint("stream", __name__, url_prefix="/v1/tasks")


def install(app: Flask) -> None:
    """Add the endpoints."""
    app.register_blueprint(blueprint)
    websocket.install(app)


class UpgradeRequired(HTTPException):
    """The stream is a WebSocket."""

    code = 426

    def get_headers(self, *args: object, **kwargs: object) -> list[tuple[str, str]]:
        """Say to what to upgrade (RFC 9110, 15.5.22)."""
        return [("Upgrade", "websocket"), ("Connection", "Upgrade")]


@blueprint.get("/<task_id>/events")
@describes(
    {
        200: {"application/json": {"schema": responses.EventPage}, SSE: {"schema": {"type": "string"}}},
        204: None,
    },
    query=requests.EventsQuery,
    headers={"Last-Event-ID": "The number of the last event seen; wins over `after` in a stream."},
)
@admits("task:read")
def read(principal: Principal, task_id: str) -> Response:
    """Answer the events after number `after`; each number comes once, and none is left out."""
    wants_stream = request.accept_mimetypes.best_match(["application/json", SSE]) == SSE
    given = request.args.to_dict()
    if wants_stream and "Last-Event-ID" in request.headers:
        given["after"] = request.headers["Last-Event-ID"]
    query = requests.read(requests.EVENTS, given)
    task = find(principal, task_id)
    if wants_stream:
        return _stream(principal, task, after=query["after"])
    with tenant_statement(context.orchestrator().engine, principal.tenant) as conn:
        found = events.read(conn, task.id, after=query["after"], limit=query["limit"])
    return jsonify(serializers.events(task, found, after=query["after"]))


@blueprint.get("/<task_id>/stream")
@describes(
    {101: None},
    400,
    422,
    426,
    query=requests.StreamQuery,
    headers={"Sec-WebSocket-Protocol": "octollm.v1, bearer.<JWT>: for who can send no other header."},
)
@requires("task:read")
def explain_stream(_principal: Principal, task_id: str) -> Response:
    """Upgrade to a WebSocket that sends the events after number `after`, one JSON text each.

    The client may say {"type": "ping"} and {"type": "cancel"}. Close codes: 1000 after the last event; 1001 this
    process restarts; 1008 not understood, or no answer to pings; 1009 too long; 1013 too slow, or the database is
    away: come back with `after`; 4401 the token has expired; 4404 the task is gone. Without an upgrade: 426.
    """
    raise UpgradeRequired


@blueprint.post("/<task_id>/stream-ticket")
@describes({201: responses.Ticket})
@requires("task:read")
def issue_ticket(principal: Principal, task_id: str) -> Response:
    """Answer a ticket that opens this task's stream once, in a URL: for a browser, which can send no header."""
    task = find(principal, task_id)
    orchestrator = context.orchestrator()
    ticket = tickets.issue(orchestrator.redis, principal, task_id=task.id, secret=orchestrator.ticket_secret)
    path = f"/v1/tasks/{task.id}"
    response = jsonify(
        ticket=ticket,
        expires_in=tickets.TICKET_SECONDS,
        links={"stream": f"{path}/stream?ticket={ticket}", "events": f"{path}/events?ticket={ticket}"},
    )
    response.status_code = 201
    return response


def _stream(principal: Principal, task: TaskRecord, *, after: int) -> Response:
    request.prom_do_not_track = True  # type: ignore[attr-defined]  # prometheus_flask_exporter reads it
    bell = threading.Event()
    watch = context.hub().watch(task, after=after, ring=bell.set)
    if watch.end is End.DONE:
        watch.close()
        # the one answer after which an EventSource does not come back
        return Response(status=204)
    response = Response(_server_sent(watch, bell, Right(principal, "task:read")), content_type=SSE)
    response.headers["X-Accel-Buffering"] = "no"
    response.call_on_close(watch.close)
    return response


def _server_sent(watch: Watch, bell: threading.Event, right: Right) -> Iterator[str]:
    """Yield the events (WHATWG HTML, 9.2), until the last one, a restart, or the end of the caller's right.

    A client that did not get the last one comes back with Last-Event-ID, and is then told what is wrong.
    """
    yield f"retry: {_RETRY_MS}\n\n"
    while True:
        try:
            right.require()
            frames = watch.take()
        except (InvalidCredential, Forbidden):
            return
        except (TooSlow, SQLAlchemyError) as error:
            log.warning("stream.cut", error=type(error).__name__)
            return
        if frames:
            yield "".join(f"id: {frame.seq}\ndata: {frame.text}\n\n" for frame in frames)
        if watch.end is not None:
            return
        if not frames and not bell.wait(min(_PING_SECONDS, right.seconds_left)):
            yield ": ping\n\n"
        bell.clear()
