"""The Anthropic provider: the Messages API through Anthropic's SDK."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import anthropic
from anthropic.types import Message

from orchestrator.llm import error_translation
from orchestrator.llm.prompt import Role
from orchestrator.llm.provider import (
    FinishReason,
    ModelRequest,
    ModelResponse,
    ResponseFormat,
    Usage,
    parse_usage,
)
from orchestrator.llm.sdk_provider import ReceivedParts, SdkProvider, text_of
from orchestrator.llm.transport import open_client

BASE_URL = "https://api.anthropic.com"
_FINISH_REASONS = {
    "end_turn": FinishReason.STOP,
    "stop_sequence": FinishReason.STOP,
    "refusal": FinishReason.STOP,
    "max_tokens": FinishReason.LENGTH,
    "model_context_window_exceeded": FinishReason.LENGTH,
}


class AnthropicProvider(SdkProvider):
    """The Messages API at one base URL."""

    name = "anthropic"
    sdk_error = anthropic.AnthropicError
    response_formats: tuple[ResponseFormat, ...] = (ResponseFormat.JSON_SCHEMA, ResponseFormat.TEXT)

    def __init__(
        self,
        *,
        api_key: str | None,
        base_url: str | None = None,
        is_streaming: bool = False,
        extra_body: Mapping[str, Mapping[str, Any]] | None = None,
        is_strict: bool = False,
    ) -> None:
        """Open the client; the parameters are those of OpenAIProvider."""
        client = anthropic.Anthropic(
            api_key=api_key or "none",
            base_url=base_url or BASE_URL,
            max_retries=0,
            http_client=open_client(),
            # our own metrics cover what its spans would
            open_telemetry=False,
            _strict_response_validation=is_strict,
        )
        # the SDK imports the larger part of itself when this attribute is first read
        self._messages = client.messages
        super().__init__(
            client, base_url=base_url or BASE_URL, is_streaming=is_streaming, extra_body=extra_body
        )

    def _parameters(self, request: ModelRequest, model: str) -> dict[str, Any]:
        system = "\n\n".join(message.text for message in request.messages if message.role is Role.SYSTEM)
        parameters: dict[str, Any] = {
            "model": model,
            "messages": [
                {"role": message.role.value, "content": message.text}
                for message in request.messages
                if message.role is not Role.SYSTEM
            ],
            "max_tokens": request.max_output_tokens,
        }
        output: dict[str, Any] = {"effort": request.effort} if request.effort else {}
        if system:
            parameters["system"] = system
        if request.response_format is ResponseFormat.JSON_SCHEMA:
            output["format"] = {"type": "json_schema", "schema": request.schema}
        if output:
            parameters["output_config"] = output
        return parameters

    def _single(self, parameters: dict[str, Any]) -> ModelResponse:
        return self._parsed(self._messages.create(**parameters), parameters["model"])

    def _parsed(self, reply: Any, model: str) -> ModelResponse:
        """Parse a response that came in one piece."""
        if reply.content is None:
            raise error_translation.no_answer_error(reply, provider=self.name, model=model)
        received = ReceivedParts(
            text=text_of(reply.content),
            finish=reply.stop_reason,
            refusal=_refusal(reply),
            usage=_usage(reply.usage),
            model=reply.model,
        )
        return received.to_response(model, finish_reasons=_FINISH_REASONS)

    def _streamed(self, parameters: dict[str, Any]) -> ModelResponse:
        received = ReceivedParts(is_cut=True)
        with self._messages.create(**parameters, stream=True) as events:
            if error_translation.is_single_response(events.response):
                body = error_translation.read_single_response(events.response)
                return self._parsed(Message.construct(**body), parameters["model"])
            for event in events:
                match event.type:
                    case "message_start":
                        received.model, received.usage = event.message.model, _usage(event.message.usage)
                    case "content_block_start":
                        received.text += text_of([event.content_block])
                    case "content_block_delta":
                        received.text += text_of([event.delta])
                    case "message_delta":
                        received.finish, received.refusal = event.delta.stop_reason, _refusal(event.delta)
                        received.usage = _final_usage(received.usage, event.usage)
                    case "message_stop":
                        received.is_cut = False
        if received.is_cut:
            received.usage = None
        return received.to_response(parameters["model"], finish_reasons=_FINISH_REASONS)


def _refusal(reply: Any) -> str:
    """Return the reason of a refusal in a message or a delta, or an empty string."""
    if reply.stop_reason != "refusal":
        return ""
    return str(getattr(getattr(reply, "stop_details", None), "category", None) or "refusal")


def _usage(usage: Any) -> Usage | None:
    """Parse Anthropic's usage, whose input tokens exclude tokens read from and written to the cache."""
    if usage is None:
        return None
    parsed = parse_usage(
        usage.input_tokens,
        usage.output_tokens,
        getattr(usage, "cache_read_input_tokens", None),
        getattr(usage, "cache_creation_input_tokens", None),
    )
    return parsed and replace(
        parsed, input_tokens=parsed.input_tokens + parsed.cached_tokens + parsed.cache_write_tokens
    )


def _final_usage(first: Usage | None, usage: Any) -> Usage | None:
    """Return a stream's usage: the input tokens of its first event, the output tokens of its last."""
    return first and parse_usage(
        first.input_tokens, usage.output_tokens, first.cached_tokens, first.cache_write_tokens
    )
