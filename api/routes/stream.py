"""The endpoints for a task's events: pages, server-sent events, the WebSocket's description, and stream tickets."""

import threading
from collections.abc import Iterator, Sequence
from functools import partial

from flask import Blueprint, Response, jsonify, request
from marshmallow import EXCLUDE, Schema, fields, validate
from werkzeug.exceptions import HTTPException

from api.middleware import context
from api.middleware.auth import requires
from api.middleware.task_access import find_task, find_task_after
from api.schemas.operation import describes
from api.schemas.requests import MAX_EVENTS, MAX_SEQ, read
from api.schemas.responses import (
    EVENT_STREAM,
    EventReplySchema,
    ResponseSchema,
    event_reply,
    event_stream,
    status_field,
    task_id_field,
)
from api.streaming import server_sent, tickets
from api.streaming.admission import admits
from api.streaming.event_buffer import Frame
from api.streaming.hub import EndReason, Subscription, current_hub
from api.streaming.websocket import StreamQuerySchema
from orchestrator.auth.credential import Principal
from orchestrator.memory import events
from orchestrator.memory.tasks import TaskRecord
from orchestrator.memory.tenancy import tenant_statement

_RETRY_MS = 1000
# a stored event, or with `progress` a transient one
_SENT = {
    "anyOf": [
        {"$ref": "#/components/schemas/EventReply"},
        {
            "type": "object",
            "required": ["type", "data"],
            "properties": {"type": {"type": "string"}, "seq": False},
        },
    ]
}

blueprint = Blueprint("stream", __name__, url_prefix="/v1/tasks")


class EventsQuerySchema(Schema):
    """Which events to read: at most `limit` (for a page) after number `after`; a ticket replaces a token.

    With `progress` a stream also has transient events, which have no number.
    """

    after = fields.Integer(load_default=0, validate=validate.Range(0, MAX_SEQ))
    limit = fields.Integer(load_default=MAX_EVENTS, validate=validate.Range(1, MAX_EVENTS))
    progress = fields.Boolean(load_default=False)
    ticket = fields.String(load_default=None)


class EventPageSchema(ResponseSchema):
    """A page of events; request the next page with after = `next_after`."""

    task_id = task_id_field()
    status = status_field()
    events = fields.List(fields.Nested(EventReplySchema))
    next_after = fields.Integer()


class TicketSchema(ResponseSchema):
    """A ticket that opens a task's stream once."""

    ticket = fields.String()
    expires_in = fields.Integer()
    links = fields.Dict(keys=fields.String(), values=fields.String())


_EVENTS_QUERY = EventsQuerySchema(unknown=EXCLUDE)


class UpgradeRequired(HTTPException):
    """The endpoint is a WebSocket, and the request is not an upgrade."""

    code = 426

    def get_headers(self, *args: object, **kwargs: object) -> list[tuple[str, str]]:
        """Return the protocol to upgrade to (RFC 9110, 15.5.22)."""
        return [("Upgrade", "websocket"), ("Connection", "Upgrade")]


@blueprint.get("/<task_id>/events", endpoint="read")
@describes(
    {
        200: {
            "application/json": {"schema": EventPageSchema},
            **event_stream(_SENT, id={"type": "string", "pattern": "^[0-9]+$"}),
        },
        204: None,
    },
    409,
    query=EventsQuerySchema,
    headers={"Last-Event-ID": "The number of the last event received; overrides `after` in a stream."},
)
@admits("task:read")
def read_events(principal: Principal, task_id: str) -> Response:
    """Return the events after number `after`, each exactly once, as a page or a stream.

    409 `cursor_ahead` if the task has no event of that number: the database was restored from a backup.
    """
    wants_stream = request.accept_mimetypes.best_match(["application/json", EVENT_STREAM]) == EVENT_STREAM
    given = request.args.to_dict()
    if wants_stream and "Last-Event-ID" in request.headers:
        given["after"] = request.headers["Last-Event-ID"]
    query = read(_EVENTS_QUERY, given)
    after = query["after"]
    task = find_task_after(principal, task_id, after)
    if wants_stream:
        return _stream(principal, task, after=after, wants_progress=query["progress"])
    with tenant_statement(context.orchestrator().engine, principal.tenant) as conn:
        found = events.read(conn, task.id, after=after, limit=query["limit"])
    page = {
        "task_id": task.id,
        "status": task.status,
        "events": [event_reply(event) for event in found],
        "next_after": found[-1].seq if found else after,
    }
    return jsonify(page)


@blueprint.get("/<task_id>/stream")
@describes(
    {101: None},
    400,
    409,
    422,
    426,
    query=StreamQuerySchema,
    headers={
        "Sec-WebSocket-Protocol": "octollm.v1, bearer.<JWT>: for clients that can send no other header."
    },
)
@requires("task:read")
def explain_stream(_principal: Principal, task_id: str) -> Response:
    """Upgrade to a WebSocket that sends the events after number `after`, one JSON text each.

    The client may send {"type": "ping"} and {"type": "cancel"}. Close codes: 1000 after the last event; 1001 the
    server restarts; 1008 malformed message, or no reply to pings; 1009 message too long; 1013 too slow, or the
    database is away: reconnect with `after`; 4401 the token has expired; 4404 the task is gone. 426 without an upgrade.
    409 as for the events.
    """
    raise UpgradeRequired


@blueprint.post("/<task_id>/stream-ticket")
@describes({201: TicketSchema}, is_idempotent=True, audit_action="ticket.issue")
@requires("task:read")
def issue_ticket(principal: Principal, task_id: str) -> Response:
    """Return a ticket that opens this task's stream once, in a URL: for browsers, which can't send headers."""
    task = find_task(principal, task_id)
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


def _stream(principal: Principal, task: TaskRecord, *, after: int, wants_progress: bool) -> Response:
    request.prom_do_not_track = True  # type: ignore[attr-defined]  # prometheus_flask_exporter reads it
    wakeup = threading.Event()
    subscription = current_hub().subscribe(
        task, after=after, callback=wakeup.set, wants_progress=wants_progress
    )
    if subscription.end is EndReason.DONE:
        subscription.close()
        # the only response after which an EventSource does not reconnect
        return Response(status=204)
    # a client that missed the last event reconnects with Last-Event-ID, and then gets an error response
    return server_sent.respond(
        principal, subscription, wakeup, partial(_encoded, subscription), head=f"retry: {_RETRY_MS}\n\n"
    )


def _encoded(subscription: Subscription, frames: Sequence[Frame]) -> Iterator[str]:
    if frames:
        yield "".join(f"id: {frame.seq}\ndata: {frame.text}\n\n" for frame in frames)
    if progress := subscription.take_progress():
        # without an id: a client that reconnects names the last event that was stored
        yield "".join(f"data: {text}\n\n" for text in progress)
