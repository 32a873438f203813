"""The OpenAI provider: Chat Completions and embeddings through OpenAI's SDK, also of compatible servers."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import openai
from openai.types.chat import ChatCompletion

from orchestrator.llm import error_translation
from orchestrator.llm.provider import (
    FinishReason,
    ModelRequest,
    ModelResponse,
    ResponseFormat,
    Usage,
    parse_usage,
    with_one_system_message,
)
from orchestrator.llm.sdk_provider import ReceivedParts, SdkProvider, refusal_of, text_of
from orchestrator.llm.transport import open_client

BASE_URL = "https://api.openai.com/v1"
_FINISH_REASONS = {
    "stop": FinishReason.STOP,
    "length": FinishReason.LENGTH,
    "content_filter": FinishReason.STOP,
}


class OpenAIProvider(SdkProvider):
    """Chat Completions at one base URL."""

    name = "openai"
    sdk_error = openai.OpenAIError
    response_formats: tuple[ResponseFormat, ...] = (
        ResponseFormat.JSON_SCHEMA,
        ResponseFormat.JSON_OBJECT,
        ResponseFormat.TEXT,
    )

    def __init__(
        self,
        *,
        api_key: str | None,
        base_url: str | None = None,
        is_compatible: bool = False,
        is_streaming: bool = False,
        extra_body: Mapping[str, Mapping[str, Any]] | None = None,
        is_strict: bool = False,
    ) -> None:
        """Open the client.

        `is_compatible`: another server than OpenAI's, which accepts only the older name of the output limit.
        `extra_body` maps provider:model to parameters. `is_strict`: the SDK validates responses against its types;
        for tests only, since a new value in OpenAI's responses would then fail every call.
        """
        self._limit = "max_tokens" if is_compatible else "max_completion_tokens"
        client = _open(api_key, base_url or BASE_URL, is_strict=is_strict)
        # the SDK imports the larger part of itself when this attribute is first read
        self._completions = client.chat.completions
        super().__init__(
            client, base_url=base_url or BASE_URL, is_streaming=is_streaming, extra_body=extra_body
        )

    def _parameters(self, request: ModelRequest, model: str) -> dict[str, Any]:
        parameters: dict[str, Any] = {
            "model": model,
            "messages": [
                {"role": message.role.value, "content": message.text}
                for message in with_one_system_message(request.messages)
            ],
            self._limit: request.max_output_tokens,
        }
        if request.effort:
            parameters["reasoning_effort"] = request.effort
        if request.response_format is ResponseFormat.JSON_SCHEMA:
            schema = {"name": "answer", "schema": request.schema, "strict": request.is_strict}
            parameters["response_format"] = {"type": "json_schema", "json_schema": schema}
        elif request.response_format is ResponseFormat.JSON_OBJECT:
            parameters["response_format"] = {"type": "json_object"}
        return parameters

    def _single(self, parameters: dict[str, Any]) -> ModelResponse:
        return self._parsed(self._completions.create(**parameters), parameters["model"])

    def _parsed(self, reply: Any, model: str) -> ModelResponse:
        """Parse a response that came in one piece."""
        if not reply.choices:
            raise error_translation.no_answer_error(reply, provider=self.name, model=model)
        choice = reply.choices[0]
        message = choice.message
        received = ReceivedParts(
            text=text_of(message.content),
            finish=choice.finish_reason,
            refusal=message.refusal or refusal_of(message.content),
            usage=_usage(reply.usage),
            model=reply.model,
        )
        return _response(received, model)

    def _streamed(self, parameters: dict[str, Any]) -> ModelResponse:
        received = ReceivedParts()
        options: dict[str, Any] = {"stream": True, "stream_options": {"include_usage": True}}
        usage = None
        with self._completions.create(**(parameters | options)) as chunks:
            if error_translation.is_single_response(chunks.response):
                body = error_translation.read_single_response(chunks.response)
                return self._parsed(ChatCompletion.construct(**body), parameters["model"])
            for chunk in chunks:
                received.model = chunk.model or received.model
                usage = chunk.usage or usage
                for choice in chunk.choices or ():
                    received.text += text_of(choice.delta.content)
                    received.refusal += choice.delta.refusal or refusal_of(choice.delta.content)
                    if choice.finish_reason is not None:
                        received.finish = choice.finish_reason
        received.usage = _usage(usage)
        # the usage comes last: a stream that sent it is complete, even without a finish reason
        received.is_cut = received.finish is None and usage is None
        return _response(received, parameters["model"])


class OpenAIEmbeddings(SdkProvider):
    """OpenAI's embeddings at one base URL, as a provider whose responses hold one vector for each message."""

    name = "openai"
    sdk_error = openai.OpenAIError
    response_formats: tuple[ResponseFormat, ...] = (ResponseFormat.TEXT,)

    def __init__(self, *, api_key: str | None, base_url: str | None = None, is_strict: bool = False) -> None:
        """Open the client; the parameters are those of OpenAIProvider."""
        client = _open(api_key, base_url or BASE_URL, is_strict=is_strict)
        self._embeddings = client.embeddings
        super().__init__(client, base_url=base_url or BASE_URL)

    def _parameters(self, request: ModelRequest, model: str) -> dict[str, Any]:
        # without a format the SDK requests base64, which some compatible servers do not support
        texts = [message.text for message in request.messages]
        return {"model": model, "input": texts, "encoding_format": "float"}

    def _single(self, parameters: dict[str, Any]) -> ModelResponse:
        model = parameters["model"]
        reply = self._embeddings.create(**parameters)
        ordered = sorted(reply.data, key=lambda item: item.index)
        vectors = tuple(tuple(map(float, item.embedding)) for item in ordered)
        if not _are_vectors(vectors, count=len(parameters["input"])):
            raise error_translation.broken_answer_error(
                "holds no vector for each text", provider=self.name, model=model
            )
        # a compatible server may report no usage
        usage = parse_usage(getattr(reply.usage, "prompt_tokens", None), 0)
        return ModelResponse("", FinishReason.STOP, usage, str(reply.model or model), vectors=vectors)


def _open(api_key: str | None, base_url: str, *, is_strict: bool) -> openai.OpenAI:
    return openai.OpenAI(
        api_key=api_key or "none",
        base_url=base_url,
        max_retries=0,
        http_client=open_client(),
        _strict_response_validation=is_strict,
    )


def _response(received: ReceivedParts, model: str) -> ModelResponse:
    if not received.refusal and received.finish == "content_filter":
        received.refusal = "content_filter"
    return received.to_response(model, finish_reasons=_FINISH_REASONS)


def _are_vectors(vectors: Sequence[Sequence[float]], *, count: int) -> bool:
    sizes = {len(vector) for vector in vectors}
    return len(vectors) == count and len(sizes) == 1 and 0 not in sizes and _are_finite(vectors)


def _are_finite(vectors: Sequence[Sequence[float]]) -> bool:
    return all(math.isfinite(number) for vector in vectors for number in vector)


def _usage(usage: Any) -> Usage | None:
    """Parse OpenAI's usage, whose prompt tokens include the cached ones."""
    if usage is None:
        return None
    details = getattr(usage, "prompt_tokens_details", None)
    return parse_usage(
        getattr(usage, "prompt_tokens", None),
        getattr(usage, "completion_tokens", None),
        getattr(details, "cached_tokens", None),
        getattr(details, "cache_write_tokens", None),
    )
