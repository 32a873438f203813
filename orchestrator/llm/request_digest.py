"""Identifies requests to models by a hash, and writes their answers as JSON values, to give them again."""

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from orchestrator.llm.completion import Completion, CompletionRequest
from orchestrator.llm.provider import FinishReason, ResponseFormat

# the random delimiters of untrusted texts (orchestrator.llm.prompt), which differ each time
_DELIMITER = re.compile(r"<(/?[a-z][a-z_]{0,40}) [0-9a-f]{16}>")
_MAX_MESSAGES = 64
_SHORT = 16


class RequestDigest(NamedTuple):
    """The sha256 of all that decides the answer to a request, and a short hash of each message, in hex digits."""

    sha256: str
    messages: list[str]


def digest_of(request: CompletionRequest) -> RequestDigest:
    """Return the hashes of a request: its messages without the delimiters of untrusted texts, schema, work, model."""
    messages = [
        _sha256(f"{message.role.value}\n" + _DELIMITER.sub(r"<\1>", message.text))
        for message in request.messages
    ]
    content = [
        messages,
        request.schema,
        request.purpose,
        request.work.value,
        str(request.model) if request.model else None,
    ]
    return RequestDigest(
        _sha256(json.dumps(content, sort_keys=True, ensure_ascii=False)),
        [sha256[:_SHORT] for sha256 in messages[:_MAX_MESSAGES]],
    )


def answer_record(completion: Completion) -> dict[str, Any]:
    """Return an answer as JSON values, without what it cost."""
    return {
        "text": completion.text,
        "value": completion.value,
        "finish": completion.finish.value,
        "provider": completion.provider,
        "model": completion.model,
        "form": completion.response_format.value,
        "fake": completion.is_fake,
    }


def answer_digest(completion: Completion) -> str:
    """Return the sha256 of an answer's text and value."""
    return _sha256(json.dumps([completion.text, completion.value], sort_keys=True, ensure_ascii=False))


def answer_of(record: Mapping[str, Any], *, purpose: str) -> Completion:
    """Return the completion of a record that `answer_record` wrote; it made no call."""
    return Completion(
        text=record["text"],
        value=record["value"],
        finish=FinishReason(record["finish"]),
        provider=record["provider"],
        model=record["model"],
        response_format=ResponseFormat(record["form"]),
        purpose=purpose,
        is_fake=record["fake"],
        attempts=(),
    )


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
