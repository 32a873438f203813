"""Speaks Chat Completions by OpenAI's SDK: to OpenAI, and to the many servers that understand the same."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import openai
from openai.types.chat import ChatCompletion

from orchestrator.llm import fault
from orchestrator.llm.interface import Answer, Finish, Form, Query, Usage, one_system, told_usage
from orchestrator.llm.parts import refusal_of, text_of
from orchestrator.llm.sdk import SdkProvider
from orchestrator.llm.transport import open_client

BASE_URL = "https://api.openai.com/v1"
_FINISH = {"stop": Finish.STOP, "length": Finish.LENGTH, "content_filter": Finish.STOP}


class OpenAIProvider(SdkProvider):
    """OpenAI's protocol at one address."""

    name = "openai"
    sdk_error = openai.OpenAIError
    forms: tuple[Form, ...] = (Form.JSON_SCHEMA, Form.JSON_OBJECT, Form.TEXT)

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

        `is_compatible`: another server, which knows the older name of the output limit. `extra_body` maps model
        to parameters. `is_strict`: the SDK checks answers against its types, for tests; a new word of OpenAI's
        would stop a product.
        """
        self._limit = "max_tokens" if is_compatible else "max_completion_tokens"
        client = _open(api_key, base_url or BASE_URL, is_strict=is_strict)
        # the SDK imports this part, the larger one, when it is first named
        self._completions = client.chat.completions
        super().__init__(
            client, base_url=base_url or BASE_URL, is_streaming=is_streaming, extra_body=extra_body
        )

    def _request(self, query: Query, model: str) -> dict[str, Any]:
        request: dict[str, Any] = {
            "model": model,
            "messages": [
                {"role": turn.role.value, "content": turn.text} for turn in one_system(query.messages)
            ],
            self._limit: query.max_output_tokens,
            "extra_body": self._extra_body.get(f"{self.name}:{model}"),
        }
        if query.form is Form.JSON_SCHEMA:
            schema = {"name": "answer", "schema": query.schema, "strict": query.is_strict}
            request["response_format"] = {"type": "json_schema", "json_schema": schema}
        elif query.form is Form.JSON_OBJECT:
            request["response_format"] = {"type": "json_object"}
        return request

    def _whole(self, request: dict[str, Any]) -> Answer:
        return self._told(self._completions.create(**request), request["model"])

    def _told(self, reply: Any, model: str) -> Answer:
        """Read an answer that came in one piece."""
        if not reply.choices:
            raise fault.no_answer(reply, provider=self.name, model=model)
        choice = reply.choices[0]
        message = choice.message
        return self._answer(
            model,
            text=text_of(message.content),
            finish=choice.finish_reason,
            refusal=message.refusal or refusal_of(message.content),
            usage=_usage(reply.usage),
            answering=reply.model,
        )

    def _streamed(self, request: dict[str, Any]) -> Answer:
        text, refusal, finish, usage, answering = "", "", None, None, None
        options: dict[str, Any] = {"stream": True, "stream_options": {"include_usage": True}}
        with self._completions.create(**(request | options)) as chunks:
            if fault.is_whole(chunks.response):
                reply = ChatCompletion.construct(**fault.whole_body(chunks.response))
                return self._told(reply, request["model"])
            for chunk in chunks:
                answering = chunk.model or answering
                usage = chunk.usage or usage
                for choice in chunk.choices or ():
                    text += text_of(choice.delta.content)
                    refusal += choice.delta.refusal or refusal_of(choice.delta.content)
                    finish = finish if choice.finish_reason is None else choice.finish_reason
        return self._answer(
            request["model"],
            text=text,
            finish=finish,
            refusal=refusal,
            usage=_usage(usage),
            answering=answering,
            # usage is told last: after it, only the reason is missing
            is_cut=finish is None and usage is None,
        )

    def _answer(
        self,
        model: str,
        *,
        text: str,
        finish: Any,
        refusal: Any,
        usage: Usage | None,
        answering: Any,
        is_cut: bool = False,
    ) -> Answer:
        refused = refusal or ("content_filter" if finish == "content_filter" else None)
        return Answer(
            text=text,
            finish=Finish.CUT if is_cut else fault.finish_of(finish, _FINISH),
            usage=usage,
            model=str(answering or model),
            refusal=str(refused)[:500] if refused else None,
        )


class OpenAIEmbeddings(SdkProvider):
    """OpenAI's embeddings at one address, as a provider whose answers are a vector for each message."""

    name = "openai"
    sdk_error = openai.OpenAIError
    forms: tuple[Form, ...] = (Form.TEXT,)

    def __init__(self, *, api_key: str | None, base_url: str | None = None, is_strict: bool = False) -> None:
        """Open the client; the parameters are those of OpenAIProvider."""
        client = _open(api_key, base_url or BASE_URL, is_strict=is_strict)
        self._embeddings = client.embeddings
        super().__init__(client, base_url=base_url or BASE_URL)

    def _request(self, query: Query, model: str) -> dict[str, Any]:
        # without a format the SDK asks for base64, which not every compatible server knows
        texts = [turn.text for turn in query.messages]
        return {"model": model, "input": texts, "encoding_format": "float"}

    def _whole(self, request: dict[str, Any]) -> Answer:
        model = request["model"]
        reply = self._embeddings.create(**request)
        ordered = sorted(reply.data, key=lambda item: item.index)
        vectors = tuple(tuple(map(float, item.embedding)) for item in ordered)
        if not _are_vectors(vectors, count=len(request["input"])):
            raise fault.broken("holds no vector for each text", provider=self.name, model=model)
        # a compatible server may tell no usage
        used = told_usage(getattr(reply.usage, "prompt_tokens", None), 0)
        return Answer("", Finish.STOP, used, str(reply.model or model), vectors=vectors)


def _open(api_key: str | None, base_url: str, *, is_strict: bool) -> openai.OpenAI:
    return openai.OpenAI(
        api_key=api_key or "none",
        base_url=base_url,
        max_retries=0,
        http_client=open_client(),
        _strict_response_validation=is_strict,
    )


def _are_vectors(vectors: Sequence[Sequence[float]], *, count: int) -> bool:
    sizes = {len(vector) for vector in vectors}
    return len(vectors) == count and len(sizes) == 1 and 0 not in sizes and _are_finite(vectors)


def _are_finite(vectors: Sequence[Sequence[float]]) -> bool:
    return all(math.isfinite(number) for vector in vectors for number in vector)


def _usage(usage: Any) -> Usage | None:
    """Read OpenAI's usage, whose prompt tokens include the cached ones."""
    if usage is None:
        return None
    details = getattr(usage, "prompt_tokens_details", None)
    return told_usage(
        getattr(usage, "prompt_tokens", None),
        getattr(usage, "completion_tokens", None),
        getattr(details, "cached_tokens", None),
        getattr(details, "cache_write_tokens", None),
    )
