"""The server side of OpenAI's Chat Completions and Embeddings and Anthropic's Messages: JSON and SSE."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any, Protocol

from tests.fake_llm.answers import vector_of

_NUMBER = count(1)
_CREATED = 1_790_000_000
_OPENAI_FINISH = {"stop": "stop", "length": "length", "refusal": "stop"}
_ANTHROPIC_FINISH = {"stop": "end_turn", "length": "max_tokens", "refusal": "refusal"}


@dataclass(frozen=True)
class Answer:
    """An answer to encode: `finish` is stop, length or refusal; the token counts are reported as its usage.

    `input_tokens` include the cached ones, as OpenAI counts. `own_finish` replaces the protocol's word for `finish`.
    """

    text: str
    finish: str
    model: str
    input_tokens: int
    output_tokens: int
    cached_tokens: int = 0
    own_finish: str | None = None
    in_parts: bool = False
    has_usage: bool = True

    def ended_by(self, words: Mapping[str, str]) -> str | None:
        """Return the protocol's word for the end, or `own_finish`; None if that is empty."""
        return words[self.finish] if self.own_finish is None else self.own_finish or None

    def content(self, text: str) -> str | list[dict[str, Any]]:
        """Return a text as content: a string, or a list of parts after a thought."""
        if not self.in_parts:
            return text
        thought = {"type": "thinking", "thinking": [{"type": "text", "text": "A thought."}]}
        return [thought, {"type": "text", "text": text}]


class Wire(Protocol):
    """One provider's encoding of answers, streams and errors."""

    def whole(self, answer: Answer) -> dict[str, Any]:
        """Return the answer as one JSON value."""
        ...

    def stream(self, answer: Answer, *, with_usage: bool) -> Iterator[bytes]:
        """Yield the answer as events."""
        ...

    def error(self, status: int, *, kind: str, message: str) -> dict[str, Any]:
        """Return the body of an error."""
        ...

    def error_event(self) -> bytes:
        """Return an error inside a stream."""
        ...


class OpenAIWire:
    """Chat Completions."""

    def whole(self, answer: Answer) -> dict[str, Any]:
        """Return the answer as one JSON value."""
        refused = answer.finish == "refusal"
        message = {
            "role": "assistant",
            "content": None if refused else answer.content(answer.text),
            "refusal": answer.text if refused else None,
        }
        choice = {
            "index": 0,
            "message": message,
            "finish_reason": answer.ended_by(_OPENAI_FINISH),
            "logprobs": None,
        }
        return {
            **self._head(answer, "chat.completion"),
            "choices": [choice],
            "usage": self._usage(answer) if answer.has_usage else None,
        }

    def stream(self, answer: Answer, *, with_usage: bool) -> Iterator[bytes]:
        """Yield the answer as chunks; the last one has the usage, if it was requested."""
        head = self._head(answer, "chat.completion.chunk")
        member = "refusal" if answer.finish == "refusal" else "content"
        parts = [
            {"role": "assistant", member: ""},
            *({member: answer.content(part)} for part in _parts(answer.text)),
            {},
        ]
        for number, delta in enumerate(parts, start=1):
            finish = answer.ended_by(_OPENAI_FINISH) if number == len(parts) else None
            choice = {"index": 0, "delta": delta, "finish_reason": finish, "logprobs": None}
            yield _event({**head, "choices": [choice]})
        if with_usage and answer.has_usage:
            yield _event({**head, "choices": [], "usage": self._usage(answer)})
        yield b"data: [DONE]\n\n"

    def error(self, status: int, *, kind: str, message: str) -> dict[str, Any]:
        """Return the body of an error."""
        return {"error": {"message": message, "type": kind, "param": None, "code": kind}}

    def error_event(self) -> bytes:
        """Return an error inside a stream."""
        return _event(self.error(500, kind="server_error", message="The fake server broke off, as scripted."))

    def _head(self, answer: Answer, kind: str) -> dict[str, Any]:
        return {
            "id": f"chatcmpl-fake-{next(_NUMBER)}",
            "object": kind,
            "created": _CREATED,
            "model": answer.model,
        }

    def _usage(self, answer: Answer) -> dict[str, Any]:
        return {
            "prompt_tokens": answer.input_tokens,
            "completion_tokens": answer.output_tokens,
            "total_tokens": answer.input_tokens + answer.output_tokens,
            "prompt_tokens_details": {"cached_tokens": answer.cached_tokens},
        }


class ResponsesWire(OpenAIWire):
    """OpenAI's Responses API."""

    def whole(self, answer: Answer) -> dict[str, Any]:
        """Return the answer as one JSON value."""
        part: dict[str, Any] = {"type": "output_text", "text": answer.text, "annotations": []}
        if answer.finish == "refusal":
            part = {"type": "refusal", "refusal": answer.text}
        is_cut = answer.finish == "length"
        status = "incomplete" if is_cut else "completed"
        thought = {"id": "rs_fake", "type": "reasoning", "summary": [{"type": "summary_text", "text": "Hm."}]}
        message = {
            "id": "msg_fake",
            "type": "message",
            "role": "assistant",
            "status": status,
            "content": [part],
        }
        return {
            **self._response(answer, status),
            "output": [thought, message],
            "incomplete_details": {"reason": "max_output_tokens"} if is_cut else None,
            "usage": self._tokens(answer) if answer.has_usage else None,
        }

    def stream(self, answer: Answer, *, with_usage: bool) -> Iterator[bytes]:
        """Yield the answer as events, always with the usage."""
        begun = {**self._response(answer, "in_progress"), "output": []}
        yield _named("response.created", response=begun, sequence_number=0)
        place = {"item_id": "msg_fake", "output_index": 1, "content_index": 0}
        for number, part in enumerate(_parts(answer.text) if answer.finish != "refusal" else (), start=1):
            yield _named(
                "response.output_text.delta", **place, delta=part, logprobs=[], sequence_number=number
            )
        kind = "response.incomplete" if answer.finish == "length" else "response.completed"
        yield _named(kind, response=self.whole(answer), sequence_number=len(answer.text) + 1)

    def _response(self, answer: Answer, status: str) -> dict[str, Any]:
        return {
            "id": f"resp_fake_{next(_NUMBER)}",
            "object": "response",
            "created_at": _CREATED,
            "model": answer.model,
            "status": status,
            "error": None,
            "parallel_tool_calls": False,
            "tool_choice": "auto",
            "tools": [],
        }

    def _tokens(self, answer: Answer) -> dict[str, Any]:
        return {
            "input_tokens": answer.input_tokens,
            "input_tokens_details": {"cached_tokens": answer.cached_tokens, "cache_write_tokens": 0},
            "output_tokens": answer.output_tokens,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": answer.input_tokens + answer.output_tokens,
        }


class EmbeddingsWire(OpenAIWire):
    """Embeddings of the given texts; scripted texts are ignored."""

    def __init__(self, texts: Any) -> None:
        self._texts = [texts] if isinstance(texts, str) else list(texts or ())

    def whole(self, answer: Answer) -> dict[str, Any]:
        """Return the vectors as one JSON value."""
        return {
            "object": "list",
            "model": answer.model,
            "data": [
                {"object": "embedding", "index": index, "embedding": vector_of(str(text))}
                for index, text in enumerate(self._texts)
            ],
            "usage": {"prompt_tokens": answer.input_tokens, "total_tokens": answer.input_tokens},
        }


class AnthropicWire:
    """Messages."""

    def whole(self, answer: Answer) -> dict[str, Any]:
        """Return the answer as one JSON value."""
        content = (
            [] if answer.finish == "refusal" else [{"type": "text", "text": answer.text, "citations": None}]
        )
        return {
            **self._head(answer),
            "content": content,
            "stop_reason": answer.ended_by(_ANTHROPIC_FINISH),
            "usage": self._usage(answer, answer.output_tokens) if answer.has_usage else None,
        }

    def stream(self, answer: Answer, *, with_usage: bool) -> Iterator[bytes]:
        """Yield the answer as events, always with the usage."""
        begun = {**self._head(answer), "content": [], "stop_reason": None, "usage": self._usage(answer, 1)}
        yield _named("message_start", message=begun)
        if answer.finish != "refusal":
            block = {"type": "text", "text": "", "citations": None}
            yield _named("content_block_start", index=0, content_block=block)
            for part in _parts(answer.text):
                yield _named("content_block_delta", index=0, delta={"type": "text_delta", "text": part})
            yield _named("content_block_stop", index=0)
        yield _named(
            "message_delta",
            delta={"stop_reason": answer.ended_by(_ANTHROPIC_FINISH), "stop_sequence": None},
            usage={"output_tokens": answer.output_tokens},
        )
        yield _named("message_stop")

    def error(self, status: int, *, kind: str, message: str) -> dict[str, Any]:
        """Return the body of an error."""
        return {"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_fake"}

    def error_event(self) -> bytes:
        """Return an error inside a stream."""
        inner = {"type": "overloaded_error", "message": "The fake server broke off, as scripted."}
        return _named("error", error=inner)

    def _head(self, answer: Answer) -> dict[str, Any]:
        return {
            "id": f"msg_fake_{next(_NUMBER)}",
            "type": "message",
            "role": "assistant",
            "model": answer.model,
            "stop_sequence": None,
        }

    def _usage(self, answer: Answer, output_tokens: int) -> dict[str, Any]:
        return {
            "input_tokens": answer.input_tokens - answer.cached_tokens,
            "output_tokens": output_tokens,
            "cache_read_input_tokens": answer.cached_tokens,
            "cache_creation_input_tokens": 0,
        }


def held_at(events: Sequence[bytes], answer: Answer, text: str) -> int:
    """Return how many events of a stream bring the answer up to the end of `text`."""
    needed = answer.text.index(text) + len(text)
    parts, sent = list(_parts(answer.text)), 0
    for number, event in enumerate(events, start=1):
        if parts and json.dumps(parts[0])[1:-1].encode() in event:
            sent += len(parts.pop(0))
            if sent >= needed:
                return number
    raise ValueError(f"the stream does not bring {text!r}")


def _parts(text: str, *, size: int = 24) -> Iterator[str]:
    yield from (text[at : at + size] for at in range(0, len(text), size))


def _event(body: Mapping[str, Any]) -> bytes:
    return b"data: " + json.dumps(body).encode() + b"\n\n"


def _named(kind: str, **body: Any) -> bytes:
    return f"event: {kind}\n".encode() + _event({"type": kind, **body})
