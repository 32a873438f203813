"""Speaks Messages by Anthropic's SDK."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import anthropic
from anthropic.types import Message

from orchestrator.llm import fault
from orchestrator.llm.interface import Answer, Finish, Form, Query, Usage, told_usage
from orchestrator.llm.parts import text_of
from orchestrator.llm.prompt import Role
from orchestrator.llm.sdk import SdkProvider
from orchestrator.llm.transport import open_client

BASE_URL = "https://api.anthropic.com"
_FINISH = {
    "end_turn": Finish.STOP,
    "stop_sequence": Finish.STOP,
    "refusal": Finish.STOP,
    "max_tokens": Finish.LENGTH,
    "model_context_window_exceeded": Finish.LENGTH,
}


class AnthropicProvider(SdkProvider):
    """Anthropic's protocol at one address."""

    name = "anthropic"
    sdk_error = anthropic.AnthropicError
    forms: tuple[Form, ...] = (Form.JSON_SCHEMA, Form.TEXT)

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
            # our own figures say what its spans would
            open_telemetry=False,
            _strict_response_validation=is_strict,
        )
        # the SDK imports this part, the larger one, when it is first named
        self._messages = client.messages
        super().__init__(
            client, base_url=base_url or BASE_URL, is_streaming=is_streaming, extra_body=extra_body
        )

    def _request(self, query: Query, model: str) -> dict[str, Any]:
        system = "\n\n".join(turn.text for turn in query.messages if turn.role is Role.SYSTEM)
        request: dict[str, Any] = {
            "model": model,
            "messages": [
                {"role": turn.role.value, "content": turn.text}
                for turn in query.messages
                if turn.role is not Role.SYSTEM
            ],
            "max_tokens": query.max_output_tokens,
            "extra_body": self._extra_body.get(f"{self.name}:{model}"),
        }
        if system:
            request["system"] = system
        if query.form is Form.JSON_SCHEMA:
            request["output_config"] = {"format": {"type": "json_schema", "schema": query.schema}}
        return request

    def _whole(self, request: dict[str, Any]) -> Answer:
        return self._told(self._messages.create(**request), request["model"])

    def _told(self, reply: Any, model: str) -> Answer:
        """Read an answer that came in one piece."""
        if reply.content is None:
            raise fault.no_answer(reply, provider=self.name, model=model)
        return self._answer(
            model,
            text=text_of(reply.content),
            finish=reply.stop_reason,
            stop=getattr(reply, "stop_details", None),
            usage=_usage(reply.usage),
            answering=reply.model,
        )

    def _streamed(self, request: dict[str, Any]) -> Answer:
        text, finish, stop, answering, is_whole = "", None, None, None, False
        usage: Usage | None = None
        with self._messages.create(**request, stream=True) as events:
            if fault.is_whole(events.response):
                return self._told(Message.construct(**fault.whole_body(events.response)), request["model"])
            for event in events:
                match event.type:
                    case "message_start":
                        answering, usage = event.message.model, _usage(event.message.usage)
                    case "content_block_start":
                        text += text_of([event.content_block])
                    case "content_block_delta":
                        text += text_of([event.delta])
                    case "message_delta":
                        finish, stop = event.delta.stop_reason, getattr(event.delta, "stop_details", None)
                        usage = _at_end(usage, event.usage)
                    case "message_stop":
                        is_whole = True
        return self._answer(
            request["model"],
            text=text,
            finish=finish,
            stop=stop,
            usage=usage if is_whole else None,
            answering=answering,
            is_cut=not is_whole,
        )

    def _answer(
        self,
        model: str,
        *,
        text: str,
        finish: Any,
        stop: Any,
        usage: Usage | None,
        answering: Any,
        is_cut: bool = False,
    ) -> Answer:
        refused = str(getattr(stop, "category", None) or "refusal")[:500] if finish == "refusal" else None
        ended = Finish.CUT if is_cut else fault.finish_of(finish, _FINISH)
        return Answer(text=text, finish=ended, usage=usage, model=str(answering or model), refusal=refused)


def _usage(usage: Any) -> Usage | None:
    """Read Anthropic's usage, whose input tokens exclude what a cache served or took."""
    if usage is None:
        return None
    told = told_usage(
        usage.input_tokens,
        usage.output_tokens,
        getattr(usage, "cache_read_input_tokens", None),
        getattr(usage, "cache_creation_input_tokens", None),
    )
    return told and replace(
        told, input_tokens=told.input_tokens + told.cached_tokens + told.cache_write_tokens
    )


def _at_end(begun: Usage | None, usage: Any) -> Usage | None:
    """Return a stream's usage: the input as it began, the output as it ended."""
    return begun and told_usage(
        begun.input_tokens, usage.output_tokens, begun.cached_tokens, begun.cache_write_tokens
    )
