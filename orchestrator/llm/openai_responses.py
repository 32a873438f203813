"""OpenAI's Responses API: its requests, responses and events, for models that Chat Completions does not serve.

Objects are read by member, not by class: a server that ignores a request for a stream sends plain JSON.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from orchestrator.llm import error_translation
from orchestrator.llm.prompt import Message, Role
from orchestrator.llm.provider import (
    FinishReason,
    ModelRequest,
    ModelResponse,
    ResponseFormat,
    Usage,
    parse_usage,
)
from orchestrator.llm.sdk_provider import ReceivedParts, member_of, refusal_of, text_of

_FINISH_REASONS = {
    "completed": FinishReason.STOP,
    "content_filter": FinishReason.STOP,
    "max_output_tokens": FinishReason.LENGTH,
}


def parameters_of(request: ModelRequest, messages: Sequence[Message]) -> dict[str, Any]:
    """Return the parameters of a request, except the model; OpenAI stores neither request nor response."""
    parameters: dict[str, Any] = {
        "input": [
            {"role": message.role.value, "content": message.text}
            for message in messages
            if message.role is not Role.SYSTEM
        ],
        "max_output_tokens": request.max_output_tokens,
        "store": False,
    }
    if system := next((message.text for message in messages if message.role is Role.SYSTEM), ""):
        parameters["instructions"] = system
    if request.response_format is ResponseFormat.JSON_SCHEMA:
        schema = {"name": "answer", "schema": request.schema, "strict": request.is_strict}
        parameters["text"] = {"format": {"type": "json_schema", **schema}}
    elif request.response_format is ResponseFormat.JSON_OBJECT:
        parameters["text"] = {"format": {"type": "json_object"}}
    return parameters


def parse(reply: Any, *, provider: str, model: str) -> ModelResponse:
    """Parse a response that came in one piece. Raises ModelError."""
    if not isinstance(member_of(reply, "output"), list | tuple):
        raise error_translation.no_answer_error(reply, provider=provider, model=model)
    return _finished(reply, ReceivedParts(), provider=provider, model=model)


def read_events(
    events: Iterable[Any], received: ReceivedParts, *, provider: str, model: str
) -> ModelResponse:
    """Read a stream up to its last event. Raises ModelError."""
    for event in events:
        match event.type:
            case "response.output_text.delta":
                received.add(event.delta)
            case "response.completed" | "response.incomplete" | "response.failed":
                return _finished(event.response, received, provider=provider, model=model)
            case "error":
                said = f": {event.message}" if getattr(event, "message", None) else ""
                raise error_translation.broken_answer_error(
                    f"broke off with an error{said}"[:300], provider=provider, model=model
                )
    received.is_cut = True
    return received.to_response(model, finish_reasons=_FINISH_REASONS)


def _finished(reply: Any, received: ReceivedParts, *, provider: str, model: str) -> ModelResponse:
    """Return the response of a finished object, whose text replaces what was streamed."""
    if member_of(reply, "status") == "failed":
        said = member_of(member_of(reply, "error"), "message")
        raise error_translation.broken_answer_error(
            f"broke off with an error{f': {said}' if said else ''}"[:300], provider=provider, model=model
        )
    contents = [
        member_of(item, "content")
        for item in member_of(reply, "output")
        if member_of(item, "type") == "message"
    ]
    received.text = "".join(map(text_of, contents))
    received.refusal = "".join(map(refusal_of, contents))
    received.model = member_of(reply, "model")
    received.usage = _usage(member_of(reply, "usage"))
    reason = member_of(member_of(reply, "incomplete_details"), "reason")
    received.finish = reason or member_of(reply, "status")
    if reason == "content_filter" and not received.refusal:
        received.refusal = "content_filter"
    return received.to_response(model, finish_reasons=_FINISH_REASONS)


def _usage(usage: Any) -> Usage | None:
    """Parse the usage, whose input tokens include the cached ones."""
    if usage is None:
        return None
    details = member_of(usage, "input_tokens_details")
    return parse_usage(
        member_of(usage, "input_tokens"),
        member_of(usage, "output_tokens"),
        member_of(details, "cached_tokens"),
        member_of(details, "cache_write_tokens"),
    )
