"""The Anthropic provider: the Messages API through Anthropic's SDK."""

import re
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
    ProviderOptions,
    ResponseFormat,
    Usage,
    parse_usage,
    with_one_system_message,
)
from orchestrator.llm.sdk_provider import (
    Adaptation,
    ReceivedParts,
    SdkProvider,
    text_of,
)
from orchestrator.llm.transport import open_client
from orchestrator.models.endpoint import Endpoint

CACHED_BYTES = 3 * 1024
"""Anthropic caches prefixes of at least 1,024 tokens (for some models more), of about three bytes each."""
_FINISH_REASONS = {
    "end_turn": FinishReason.STOP,
    "stop_sequence": FinishReason.STOP,
    "refusal": FinishReason.STOP,
    "max_tokens": FinishReason.LENGTH,
    "model_context_window_exceeded": FinishReason.LENGTH,
}


class AnthropicProvider(SdkProvider):
    """The Messages API at one base URL."""

    sdk_error = anthropic.AnthropicError
    response_formats: tuple[ResponseFormat, ...] = (ResponseFormat.JSON_SCHEMA, ResponseFormat.TEXT)
    adaptations = (
        Adaptation(re.compile(r"\bcache_control\b"), "prompt_cache"),
        Adaptation(re.compile(r"\beffort\b"), "effort"),
        Adaptation(re.compile(r"\b(?:stream|streaming)\b", re.IGNORECASE), "stream"),
        Adaptation(re.compile(r"\bsystem\b", re.IGNORECASE), "system"),
    )

    def __init__(self, endpoint: Endpoint, *, options: ProviderOptions | None = None) -> None:
        """Open the client."""
        chosen = options or ProviderOptions()
        client = anthropic.Anthropic(
            api_key=endpoint.api_key or "none",
            base_url=endpoint.address,
            max_retries=0,
            default_headers=_headers(endpoint),
            http_client=open_client(),
            # our own spans cover what its would; it sends traceparent to the provider, too
            open_telemetry=False,
            _strict_response_validation=chosen.is_strict,
        )
        # the SDK imports the larger part of itself when this attribute is first read
        self._messages = client.messages
        super().__init__(client, endpoint, options=chosen)

    def _parameters(self, request: ModelRequest, model: str) -> dict[str, Any]:
        first, *others = with_one_system_message(request.messages, has_system=self.uses("system", model))
        has_system = first.role is Role.SYSTEM
        parameters: dict[str, Any] = {
            "model": model,
            "messages": [
                {"role": message.role.value, "content": message.text}
                for message in (others if has_system else [first, *others])
            ],
            "max_tokens": request.max_output_tokens,
        }
        has_effort = request.effort and self.uses("effort", model)
        output: dict[str, Any] = {"effort": request.effort} if has_effort else {}
        if has_system:
            parameters["system"] = _system(first.text, is_cached=self.uses("prompt_cache", model))
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

    def _streamed(self, parameters: dict[str, Any], received: ReceivedParts) -> ModelResponse:
        received.is_cut = True
        with self._messages.create(**parameters, stream=True) as events:
            if error_translation.is_single_response(events.response):
                body = error_translation.read_single_response(events.response)
                return self._parsed(Message.construct(**body), parameters["model"])
            for event in events:
                match event.type:
                    case "message_start":
                        received.model, received.usage = event.message.model, _usage(event.message.usage)
                    case "content_block_start":
                        received.add(text_of([event.content_block]))
                    case "content_block_delta":
                        received.add(text_of([event.delta]))
                    case "message_delta":
                        received.finish, received.refusal = event.delta.stop_reason, _refusal(event.delta)
                        received.usage = _final_usage(received.usage, event.usage)
                    case "message_stop":
                        received.is_cut = False
        if received.is_cut:
            received.usage = None
        return received.to_response(parameters["model"], finish_reasons=_FINISH_REASONS)


def _headers(endpoint: Endpoint) -> dict[str, Any]:
    headers: dict[str, Any] = dict(endpoint.headers)
    if endpoint.name != "anthropic":
        # the SDK would send the token of ANTHROPIC_AUTH_TOKEN to every server
        headers = {"Authorization": anthropic.Omit(), **headers}
    if endpoint.api_version:
        headers["anthropic-version"] = endpoint.api_version
    return headers


def _system(text: str, *, is_cached: bool) -> str | list[dict[str, Any]]:
    """Return the system text, which is the same for all tasks; a long one is marked for the provider's cache."""
    if not is_cached or len(text.encode("utf-8", "surrogatepass")) < CACHED_BYTES:
        return text
    return [{"type": "text", "text": text, "cache_control": {"type": "ephemeral"}}]


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
