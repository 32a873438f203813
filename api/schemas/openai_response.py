"""A task as a response object in OpenAI's shape, and the events of its stream."""

import json
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from marshmallow import fields

from api.schemas.openai_request import MAX_METADATA_VALUE, MODEL, OWN_PREFIX, RECIPE_PREFIX
from api.schemas.responses import ResponseSchema, one_of
from orchestrator.memory.tasks import TaskRecord
from orchestrator.models.errors import BudgetExceeded
from orchestrator.models.execution_state import TaskStatus

_STATUS = {
    TaskStatus.QUEUED: "queued",
    TaskStatus.PROCESSING: "in_progress",
    TaskStatus.COMPLETED: "completed",
    TaskStatus.FAILED: "failed",
    TaskStatus.CANCELLED: "cancelled",
}
_INCOMPLETE = "incomplete"
# OpenAI's own codes, of which clients know no others
_ERROR_CODES = {
    "invalid_plan": "invalid_prompt",
    "invalid_input": "invalid_prompt",
    "unplannable": "invalid_prompt",
    "rate_limited": "rate_limit_exceeded",
}
_END_EVENTS = {
    "completed": "response.completed",
    "failed": "response.failed",
    # OpenAI has no event for it
    "cancelled": "response.failed",
    _INCOMPLETE: "response.incomplete",
}


class ResponseErrorSchema(ResponseSchema):
    """Why a response failed: OpenAI's nearest code, and our code and message."""

    code = fields.String()
    message = fields.String()


class ResponseObjectSchema(ResponseSchema):
    """A task as OpenAI's response object; `metadata` has, besides the caller's, members that begin with octollm_."""

    id = fields.String()
    object = one_of("response")
    created_at = fields.Integer()
    completed_at = fields.Integer(allow_none=True)
    status = one_of(*_STATUS.values(), _INCOMPLETE)
    background = fields.Boolean()
    error = fields.Nested(ResponseErrorSchema, allow_none=True)
    incomplete_details = fields.Dict(allow_none=True)
    instructions = fields.String(allow_none=True)
    max_output_tokens = fields.Integer(allow_none=True)
    model = fields.String()
    output = fields.List(fields.Dict())
    parallel_tool_calls = fields.Boolean()
    previous_response_id = fields.String(allow_none=True)
    store = fields.Boolean()
    temperature = fields.Float(allow_none=True)
    text = fields.Dict()
    tool_choice = one_of("auto")
    tools = fields.List(fields.Dict())
    top_p = fields.Float(allow_none=True)
    truncation = one_of("disabled")
    usage = fields.Dict(allow_none=True)
    metadata = fields.Dict(keys=fields.String(), values=fields.String())


def response_object(task: TaskRecord, *, message: str | None = None) -> dict[str, Any]:
    """Return a task as a response; `message` says what an open one waits for."""
    status, schema, answer = response_status(task), task.contract.get("output_schema"), _answer(task)
    text_format = (
        {"type": "json_schema", "name": "output", "schema": schema, "strict": True} if schema else None
    )
    return {
        "id": task.id,
        "object": "response",
        "created_at": _seconds(task.created_at),
        "completed_at": _seconds(task.finished_at) if status == "completed" else None,
        "status": status,
        "background": True,
        "error": _error(task) if status in ("failed", "cancelled") else None,
        "incomplete_details": {"reason": "max_output_tokens"} if status == _INCOMPLETE else None,
        "instructions": None,
        "max_output_tokens": None,
        "model": RECIPE_PREFIX + task.contract["recipe"] if task.contract.get("recipe") else MODEL,
        "output": [] if answer is None else [_output(task, answer)],
        "parallel_tool_calls": True,
        "previous_response_id": None,
        "store": True,
        "temperature": None,
        "text": {"format": text_format or {"type": "text"}},
        "tool_choice": "auto",
        "tools": [],
        "top_p": None,
        "truncation": "disabled",
        "usage": None,
        "metadata": _metadata(task, message),
    }


def response_status(task: TaskRecord) -> str:
    """Return OpenAI's word for a task's status; a task without budget left is incomplete."""
    if task.error is not None and task.error["code"] == BudgetExceeded.code:
        return _INCOMPLETE
    return _STATUS[TaskStatus(task.status)]


def progress_event(response: Mapping[str, Any], event: Mapping[str, Any]) -> dict[str, Any]:
    """Return an event of an open task in OpenAI's shape; ours is its member `octollm_event`.

    The first one is response.created; all others are response.in_progress, without the caller's metadata and format.
    """
    seq = event["seq"]
    if seq == 1:
        kind, shown = "response.created", {**response, "status": "queued"}
    else:
        # a large schema or metadata would otherwise be sent with each event
        metadata = {name: text for name, text in response["metadata"].items() if name.startswith(OWN_PREFIX)}
        kind = "response.in_progress"
        shown = {**response, "status": "in_progress", "metadata": metadata, "text": {}}
    return {"type": kind, "sequence_number": seq, "response": shown, "octollm_event": event}


def final_events(response: Mapping[str, Any], *, seq: int) -> Iterator[dict[str, Any]]:
    """Yield the events that a task's last event `seq` stands for: the answer as one text, and the end.

    They are numbered from `seq`: nothing follows the last event, so no number is used twice.
    """
    bodies = [
        *_text_events(response["output"]),
        {"type": _END_EVENTS[response["status"]], "response": response},
    ]
    for number, body in enumerate(bodies, start=seq):
        yield {"type": body["type"], "sequence_number": number, **body}


def _text_events(output: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for item in output:
        [part] = item["content"]
        place = {"item_id": item["id"], "output_index": 0, "content_index": 0}
        empty = {**part, "text": ""}
        yield {
            "type": "response.output_item.added",
            "output_index": 0,
            "item": {**item, "status": "in_progress", "content": []},
        }
        yield {"type": "response.content_part.added", **place, "part": empty}
        yield {"type": "response.output_text.delta", **place, "delta": part["text"], "logprobs": []}
        yield {"type": "response.output_text.done", **place, "text": part["text"], "logprobs": []}
        yield {"type": "response.content_part.done", **place, "part": part}
        yield {"type": "response.output_item.done", "output_index": 0, "item": item}


def _answer(task: TaskRecord) -> str | None:
    """Return the answer as a text: JSON if the request has a schema for it; None without a complete result."""
    if task.status != TaskStatus.COMPLETED or task.result is None:
        return None
    if task.contract.get("output_schema"):
        return json.dumps(task.result["data"], ensure_ascii=False)
    return str(task.result["output"])


def _output(task: TaskRecord, answer: str) -> dict[str, Any]:
    return {
        "type": "message",
        "id": "msg_" + task.id.removeprefix("task_"),
        "role": "assistant",
        "status": "completed",
        "content": [{"type": "output_text", "text": answer, "annotations": []}],
    }


def _error(task: TaskRecord) -> dict[str, Any] | None:
    if task.error is None:
        return None
    code = str(task.error["code"])
    return {"code": _ERROR_CODES.get(code, "server_error"), "message": f"{code}: {task.error['message']}"}


def _metadata(task: TaskRecord, message: str | None) -> dict[str, str]:
    """Return the caller's metadata as texts, and what OpenAI's object has no place for."""
    result, own = task.result or {}, dict[str, Any](task_id=task.id, status=task.status)
    if TaskStatus(task.status).is_final():
        is_rejected = task.error is not None and task.error["code"] == "validation_failed"
        own |= {
            "verdict": "passed" if result.get("validation_passed") else "rejected" if is_rejected else "none",
            "coverage": result.get("coverage"),
            "confidence": result.get("confidence"),
            "answered_by": result.get("answered_by"),
            "tokens_used": task.tokens_used,
            "cost_dollars": "unknown" if task.cost_dollars is None else str(task.cost_dollars),
        }
    own["message"] = message
    given = {name: _metadata_text(value) for name, value in task.contract.get("metadata", {}).items()}
    return {
        **given,
        **{OWN_PREFIX + name: _metadata_text(value) for name, value in own.items() if value is not None},
    }


def _metadata_text(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text[:MAX_METADATA_VALUE]


def _seconds(moment: datetime | None) -> int | None:
    return int(moment.timestamp()) if moment else None
