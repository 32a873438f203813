"""The endpoints of /v1/responses and /v1/models: tasks in the shape of OpenAI's API, for its unmodified SDKs."""

from functools import partial
from typing import Any

from flask import Blueprint, Response, jsonify, request
from marshmallow import EXCLUDE, Schema, fields, validate

from api.middleware import audit, body, context, openai_error
from api.middleware.auth import authorize, requires
from api.middleware.idempotency import REPEATABLE, read_retried
from api.middleware.problem import StillRunning
from api.middleware.task_access import find_task, require_event
from api.routes.tasks import MAX_WAIT_SECONDS, submit_task
from api.schemas.openai_request import (
    MODEL,
    RECIPE_PREFIX,
    AskedResponse,
    ResponseRequestSchema,
    in_openai_terms,
    read_request,
)
from api.schemas.openai_response import ResponseObjectSchema, response_object
from api.schemas.operation import describes
from api.schemas.requests import MAX_SEQ, read
from api.schemas.responses import ResponseSchema, event_stream, one_of
from api.schemas.task_status import waiting_message
from api.streaming import openai_stream
from api.streaming.long_poll import wait_for_end
from orchestrator.auth.credential import Principal
from orchestrator.chord.database import transaction
from orchestrator.lifecycle.submission import Submitted
from orchestrator.memory import submissions, tasks
from orchestrator.memory.tasks import TaskRecord
from orchestrator.memory.tenancy import tenant_statement
from orchestrator.models.caller import IdempotencyKey
from orchestrator.models.errors import InvalidInput, InvalidOperation
from orchestrator.models.execution_state import TaskStatus
from orchestrator.planner.recipes import recipes

# a name is taken anew so often; more requests with one body at the same time get one response
_NEW_NAMES = 3
_EXAMPLES = {
    "in the background": {
        "model": "octollm",
        "input": "Scan this text for secrets: call me at noon.",
        "background": True,
        "metadata": {"ticket": "17"},
    },
    "a recipe": {
        "model": "octollm/search-documents",
        "input": [
            {
                "role": "user",
                "content": [
                    {"type": "input_text", "text": "Find the late deliveries"},
                    {
                        "type": "input_file",
                        "filename": "terms.txt",
                        "file_data": "data:text/plain;base64,QWZ0ZXIgYSBsYXRlIGRlbGl2ZXJ5IGhhbGYgaXMgcGFpZCBiYWNrLg==",
                    },
                ],
            }
        ],
        "background": True,
        "octollm": {"parameters": {"query": "late delivery"}},
    },
}
_EVENT = {
    "type": "object",
    "required": ["type", "sequence_number"],
    "properties": {
        "type": {"type": "string"},
        "sequence_number": {"type": "integer"},
        "response": {"$ref": "#/components/schemas/ResponseObject"},
    },
}
_CONTENT = {
    "application/json": {"schema": ResponseObjectSchema},
    **event_stream(_EVENT, event={"type": "string"}),
}

blueprint = Blueprint("responses", __name__, url_prefix="/v1")
openai_error.install(blueprint)


class RetrieveQuerySchema(Schema):
    """Whether to stream the events, and after which sequence number."""

    stream = fields.Boolean(load_default=False)
    starting_after = fields.Integer(load_default=0, validate=validate.Range(0, MAX_SEQ))
    # nothing of ours is obfuscated
    include_obfuscation = fields.Boolean()


class ModelSchema(ResponseSchema):
    """A model as OpenAI lists them: octollm plans by itself, octollm/<recipe> by a recipe."""

    id = fields.String()
    object = one_of("model")
    created = fields.Integer()
    owned_by = fields.String()


class ModelListSchema(ResponseSchema):
    """All models."""

    object = one_of("list")
    data = fields.List(fields.Nested(ModelSchema))


_QUERY = RetrieveQuerySchema(unknown=EXCLUDE)


@blueprint.get("/models")
@describes({200: ModelListSchema})
@requires("arm:list", takes_keys=True)
def list_models(_principal: Principal) -> Response:
    """List what a request to /v1/responses may name as its model."""
    names = [MODEL, *(RECIPE_PREFIX + one.recipe for one in recipes())]
    listed = [{"id": name, "object": "model", "created": 0, "owned_by": MODEL} for name in names]
    return jsonify(object="list", data=listed)


@blueprint.post("/responses")
@describes(
    {200: _CONTENT},
    409,
    504,
    body=ResponseRequestSchema,
    headers=REPEATABLE,
    examples=_EXAMPLES,
    audit_action="task.submit",
)
@requires("task:submit", takes_keys=True)
def create(principal: Principal) -> Response:
    """Submit a task in the shape of OpenAI's Responses API.

    With `background` the answer comes at once, and the response is polled, streamed or cancelled by its id. Without,
    the call waits for 30 s at most; a response that then still runs is 504 `still_running`, which names its id, and a
    repetition of the call waits for the same response. An invalid request is 400. The key needs the scope task:read
    too, since a repeated request gets the answer.
    """
    authorize(principal, "task:read")
    members = body.read_object()
    asked = read_request(members)
    task_id = _submit(principal, members, asked)
    task = find_task(principal, task_id)
    if asked.is_stream:
        return _named(openai_stream.stream(principal, task, after=0), task)
    if not asked.is_background:
        task = wait_for_end(principal, task, seconds=MAX_WAIT_SECONDS)
        if not TaskStatus(task.status).is_final():
            raise StillRunning(
                f"The response {task.id} still runs after {MAX_WAIT_SECONDS} s. GET /v1/responses/{task.id} returns "
                "it; to get the id at once, send background=true.",
                details={"response_id": task.id, "retry_after": 1},
            )
    return _reply(task)


@blueprint.get("/responses/<task_id>")
@describes({200: _CONTENT}, 400, 409, query=RetrieveQuerySchema)
@requires("task:read", takes_keys=True)
def retrieve(principal: Principal, task_id: str) -> Response:
    """Return a task as a response, or with `stream` its events after `starting_after`.

    Each of the task's events is one of the stream's, with its number as `sequence_number`; the last one is followed by
    the answer and the end, numbered on. A stream that broke off goes on after any number.
    """
    query = read(_QUERY, request.args)
    task = find_task(principal, task_id)
    if query["stream"]:
        # the events of an end are numbered on
        if not TaskStatus(task.status).is_final():
            require_event(task, query["starting_after"])
        return openai_stream.stream(principal, task, after=query["starting_after"])
    return _reply(task)


@blueprint.post("/responses/<task_id>/cancel")
@describes({200: ResponseObjectSchema}, is_idempotent=True, audit_action="task.cancel")
@requires("task:cancel", takes_keys=True)
def cancel(principal: Principal, task_id: str) -> Response:
    """Cancel a response; one that has ended is returned as it is, so the key needs the scope task:read too."""
    authorize(principal, "task:read")
    task = find_task(principal, task_id)
    try:
        task, _ = context.orchestrator().cancel(tenant=principal.tenant, task_id=task.id)
    except InvalidOperation:
        task = find_task(principal, task_id)
    return _reply(task)


def _submit(principal: Principal, members: dict[str, Any], asked: AskedResponse) -> str:
    """Return the id of the task that a request asks for, or of the one that it asked for before, if it is repeated."""
    once, is_retry = read_retried(members, key_id=principal.key_id)
    task = _submit_once(principal, asked, once)
    for _ in range(_NEW_NAMES):
        if is_retry or not task.is_replay:
            break
        # the same body was sent before, and this is not the SDK's repetition of it: a task of its own
        with tenant_statement(context.orchestrator().engine, principal.tenant) as conn:
            submissions.expire(conn, principal.tenant, once.name)
        task = _submit_once(principal, asked, once)
    return task.task_id


def _submit_once(principal: Principal, asked: AskedResponse, once: IdempotencyKey) -> Submitted:
    try:
        return submit_task(principal, asked.members, once=once, before=partial(_store, principal, asked))
    except InvalidInput as error:
        raise in_openai_terms(error) from error


def _store(principal: Principal, asked: AskedResponse) -> None:
    """Store the files that came with a request, each with an entry in the audit log, unless it is done already."""
    orchestrator = context.orchestrator()
    if any(len(file.content) > orchestrator.settings.max_file_bytes for file in asked.files):
        raise InvalidInput.at("input", f"a file has more than {orchestrator.settings.max_file_bytes} bytes")
    while asked.files:
        with transaction(orchestrator.engine) as conn:
            stored = asked.files[0].store(
                conn, principal.tenant, max_bytes=orchestrator.settings.tenant_max_stored_bytes
            )
        del asked.files[0]
        audit.record_action("file.upload", target=stored.sha256)


def _reply(task: TaskRecord) -> Response:
    message = None
    if not TaskStatus(task.status).is_final():
        with tenant_statement(context.orchestrator().engine, task.tenant) as conn:
            message = waiting_message(tasks.waits(conn, task.worker_id))
    return _named(jsonify(response_object(task, message=message)), task)


def _named(response: Response, task: TaskRecord) -> Response:
    """Say in a header which task the response is about, also for the audit log."""
    response.headers["Location"] = f"/v1/responses/{task.id}"
    return response
