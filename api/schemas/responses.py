"""Base of the response schemas, and the response shapes that several endpoints share.

A class named XSchema is the component X of the OpenAPI document: renaming one changes the published document.
"""

from collections.abc import Mapping
from typing import Any, cast

from marshmallow import EXCLUDE, Schema, fields, validate

from api.schemas.fields import Timestamp
from orchestrator.memory.events import Event
from orchestrator.models.execution_state import TaskStatus

EVENT_STREAM = "text/event-stream"


class ResponseSchema(Schema):
    """A response body: each declared member is present; clients must accept further members."""

    class Meta:
        unknown = EXCLUDE

    def to_json(self, value: Any) -> dict[str, Any]:
        """Return `value`, an object or a mapping, as this schema's JSON object."""
        return cast(dict[str, Any], self.dump(value))


def one_of(*values: str) -> fields.String:
    """Return a field that is one of these strings."""
    return fields.String(validate=validate.OneOf(values))


def task_id_field() -> fields.String:
    """Return a field that holds a task's id."""
    return fields.String(validate=validate.Regexp(r"^task_[a-zA-Z0-9]{16}$"))


def status_field() -> fields.String:
    """Return a field that holds a task's status."""
    return one_of(*(status.value for status in TaskStatus))


class EventReplySchema(ResponseSchema):
    """One numbered event of a task."""

    seq = fields.Integer()
    timestamp = Timestamp(attribute="occurred_at")
    type = fields.String()
    data = fields.Raw(attribute="payload")


_EVENT = EventReplySchema()


def event_reply(event: Event) -> dict[str, Any]:
    """Return an event in the format that pages, WebSockets and SSE share."""
    return _EVENT.to_json(event)


def event_stream(data: Mapping[str, Any], **members: Any) -> dict[str, Any]:
    """Return the OpenAPI content of a stream of server-sent events; `data` is the JSON Schema of each event's data.

    `members` are the schemas of what each event has besides (`id`, `event`). OpenAPI 3.1 has no word for the events of
    a stream: the schema describes one of them, as tools read it.
    """
    sent = {"type": "string", "contentMediaType": "application/json", "contentSchema": data}
    shape = {"type": "object", "required": ["data"], "properties": {**members, "data": sent}}
    return {EVENT_STREAM: {"schema": shape}}


class ErrorDetailSchema(ResponseSchema):
    """The problem's code and message again, where OctoLLM's TypeScript client reads them."""

    code = fields.String()
    message = fields.String()
    details = fields.Dict()


class ProblemSchema(ResponseSchema):
    """An error (RFC 9457); `code` is stable, `details` lists the faults by field."""

    type = fields.String()
    title = fields.String()
    status = fields.Integer()
    detail = fields.String()
    instance = fields.String()
    code = fields.String()
    message = fields.String()
    details = fields.Dict()
    retryable = fields.Boolean()
    retry_after = fields.Integer()
    request_id = fields.String()
    timestamp = fields.String()
    error = fields.Nested(ErrorDetailSchema)
