"""The OpenAI provider: Chat Completions and embeddings through OpenAI's SDK, also of compatible servers."""

import math
import re
from collections.abc import Sequence
from dataclasses import replace
from hashlib import sha256
from typing import Any
from urllib.parse import urlsplit

import openai
from openai.types.chat import ChatCompletion

from orchestrator.llm import error_translation, openai_responses
from orchestrator.llm.prompt import Message
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
    refusal_of,
    text_of,
)
from orchestrator.llm.transport import open_client
from orchestrator.models.endpoint import Endpoint
from orchestrator.models.model_choice import needs_responses

_FINISH_REASONS = {
    "stop": FinishReason.STOP,
    "length": FinishReason.LENGTH,
    "content_filter": FinishReason.STOP,
}


class OpenAIProvider(SdkProvider):
    """Chat Completions at one endpoint, or the Responses API for models that need it."""

    sdk_error = openai.OpenAIError
    response_formats: tuple[ResponseFormat, ...] = (
        ResponseFormat.JSON_SCHEMA,
        ResponseFormat.JSON_OBJECT,
        ResponseFormat.TEXT,
    )
    adaptations = (
        Adaptation(re.compile(r"\bv1/responses\b"), "responses", is_supported=True),
        Adaptation(re.compile(r"\bmax_completion_tokens\b"), "max_completion_tokens", is_supported=True),
        Adaptation(re.compile(r"\bmax_completion_tokens\b"), "max_completion_tokens"),
        Adaptation(re.compile(r"\bprompt_cache_key\b"), "prompt_cache"),
        Adaptation(re.compile(r"\breasoning_effort\b"), "effort"),
        Adaptation(re.compile(r"\b(?:stream_options|include_usage)\b"), "stream_usage"),
        Adaptation(re.compile(r"\b(?:stream|streaming)\b", re.IGNORECASE), "stream"),
        Adaptation(re.compile(r"\bsystem\b", re.IGNORECASE), "system"),
    )

    def __init__(self, endpoint: Endpoint, *, options: ProviderOptions | None = None) -> None:
        """Open the client."""
        chosen = options or ProviderOptions()
        client = _open(endpoint, is_strict=chosen.is_strict)
        self._sdk = client
        # the SDK imports the larger part of itself when this attribute is first read
        self._completions = client.chat.completions
        super().__init__(client, endpoint, options=chosen)

    def _default(self, capability: str, model: str) -> bool:
        # other servers know only the older name of the output limit, and may reject unknown parameters
        if capability in ("max_completion_tokens", "prompt_cache"):
            return _is_openais(self.base_url)
        if capability == "responses":
            return _is_openais(self.base_url) and needs_responses(model)
        return True

    def _parameters(self, request: ModelRequest, model: str) -> dict[str, Any]:
        messages = with_one_system_message(request.messages, has_system=self.uses("system", model))
        common: dict[str, Any] = {"model": model}
        if self.uses("prompt_cache", model):
            common["prompt_cache_key"] = cache_key(messages[0].text)
        if self.uses("responses", model):
            if request.effort and self.uses("effort", model):
                common["reasoning"] = {"effort": request.effort}
            return common | openai_responses.parameters_of(request, messages)
        return common | self._chat_parameters(request, messages, model)

    def _chat_parameters(
        self, request: ModelRequest, messages: Sequence[Message], model: str
    ) -> dict[str, Any]:
        limit = "max_completion_tokens" if self.uses("max_completion_tokens", model) else "max_tokens"
        parameters: dict[str, Any] = {
            "messages": [{"role": message.role.value, "content": message.text} for message in messages],
            limit: request.max_output_tokens,
        }
        if request.effort and self.uses("effort", model):
            parameters["reasoning_effort"] = request.effort
        if request.response_format is ResponseFormat.JSON_SCHEMA:
            schema = {"name": "answer", "schema": request.schema, "strict": request.is_strict}
            parameters["response_format"] = {"type": "json_schema", "json_schema": schema}
        elif request.response_format is ResponseFormat.JSON_OBJECT:
            parameters["response_format"] = {"type": "json_object"}
        return parameters

    def _single(self, parameters: dict[str, Any]) -> ModelResponse:
        if "input" in parameters:
            reply = self._sdk.responses.create(**parameters)
            return openai_responses.parse(reply, provider=self.name, model=parameters["model"])
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

    def _streamed(self, parameters: dict[str, Any], received: ReceivedParts) -> ModelResponse:
        model = parameters["model"]
        if "input" in parameters:
            return self._streamed_response(parameters, received)
        options: dict[str, Any] = {"stream": True}
        if self.uses("stream_usage", model):
            options["stream_options"] = {"include_usage": True}
        usage = None
        with self._completions.create(**(parameters | options)) as chunks:
            if error_translation.is_single_response(chunks.response):
                body = error_translation.read_single_response(chunks.response)
                return self._parsed(ChatCompletion.construct(**body), model)
            for chunk in chunks:
                received.model = chunk.model or received.model
                usage = chunk.usage or usage
                for choice in chunk.choices or ():
                    received.add(text_of(choice.delta.content))
                    received.refusal += choice.delta.refusal or refusal_of(choice.delta.content)
                    if choice.finish_reason is not None:
                        received.finish = choice.finish_reason
        received.usage = _usage(usage)
        # the usage comes last: a stream that sent it is complete, even without a finish reason
        received.is_cut = received.finish is None and usage is None
        return _response(received, model)

    def _streamed_response(self, parameters: dict[str, Any], received: ReceivedParts) -> ModelResponse:
        about = {"provider": self.name, "model": parameters["model"]}
        with self._sdk.responses.create(**parameters, stream=True) as events:
            if error_translation.is_single_response(events.response):
                return openai_responses.parse(
                    error_translation.read_single_response(events.response), **about
                )
            return openai_responses.read_events(events, received, **about)


class OpenAIEmbeddings(SdkProvider):
    """OpenAI's embeddings at one base URL, as a provider whose responses hold one vector for each message."""

    sdk_error = openai.OpenAIError
    response_formats: tuple[ResponseFormat, ...] = (ResponseFormat.TEXT,)

    def __init__(self, endpoint: Endpoint, *, options: ProviderOptions | None = None) -> None:
        """Open the client."""
        chosen = replace(options or ProviderOptions(), is_streaming=False)
        client = _open(endpoint, is_strict=chosen.is_strict)
        self._embeddings = client.embeddings
        super().__init__(client, endpoint, options=chosen)

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


def _open(endpoint: Endpoint, *, is_strict: bool) -> openai.OpenAI:
    headers: dict[str, Any] = dict(endpoint.headers)
    if endpoint.name != "openai":
        # the SDK would send the account of OPENAI_ORG_ID and OPENAI_PROJECT_ID to every server
        headers = {"OpenAI-Organization": openai.Omit(), "OpenAI-Project": openai.Omit(), **headers}
    return openai.OpenAI(
        api_key=endpoint.api_key or "none",
        base_url=endpoint.address,
        max_retries=0,
        default_headers=headers,
        default_query={"api-version": endpoint.api_version} if endpoint.api_version else None,
        http_client=open_client(),
        _strict_response_validation=is_strict,
    )


def cache_key(text: str) -> str:
    """Return the prompt_cache_key of requests that begin with `text`, which is the same for all tasks."""
    return "octollm-" + sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:24]


def _is_openais(url: str) -> bool:
    """Tell whether a URL is that of OpenAI itself or of Azure."""
    host = urlsplit(url).hostname or ""
    return host.endswith((".openai.com", ".azure.com"))


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
