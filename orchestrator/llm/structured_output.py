"""Gets a JSON value of a given schema from a model: asks in the best format its server supports, and validates it."""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from orchestrator.llm.answer_parser import parse_values, replace_unstorable, without_reasoning
from orchestrator.llm.capabilities import ModelCapabilities
from orchestrator.llm.prompt import (
    Part,
    Role,
    Untrusted,
    compose,
    extend_user_message,
    trusted,
    trusted_registry_text,
)
from orchestrator.llm.provider import FinishReason, ModelRequest, ModelResponse, ResponseFormat
from orchestrator.llm.strict_schema import resolve, strict_schema, without_nulls
from orchestrator.models.errors import BudgetExceeded
from orchestrator.models.model_errors import ModelAnswerCut, ModelAnswerInvalid, ModelRequestRejected
from orchestrator.rules.json_schema import SchemaFault, faults

MAX_CORRECTIONS = 2
_MAX_DEPTH = 200
_CHARACTERS_A_TOKEN = 8
_MAX_ECHOED_CHARACTERS = 20_000
_CONTEXT = re.compile(
    r"context.?(?:length|window|size)|maximum context|prompt is too long|input is too long|too many tokens",
    re.IGNORECASE,
)

LARGE_SCHEMA = "large_schema"

Send = Callable[[ModelRequest], ModelResponse]


class SupportedFormats:
    """The response formats that are worth a try with one model, the best first; what its server rejects is learned."""

    def __init__(self, formats: Sequence[ResponseFormat], capabilities: ModelCapabilities) -> None:
        self.all = tuple(formats)
        self._capabilities = capabilities

    def to_try(self, usable: Sequence[ResponseFormat], *, is_large: bool = False) -> Sequence[ResponseFormat]:
        """Return those of `usable` that are worth a try, the best first; the last one always is.

        `is_large`: the JSON Schema has many alternatives, which some servers do not accept.
        """
        return [
            response_format
            for response_format in usable
            if response_format is usable[-1]
            or (
                self._capabilities.has(response_format.value)
                and not (
                    is_large
                    and response_format is ResponseFormat.JSON_SCHEMA
                    and not self._capabilities.has(LARGE_SCHEMA)
                )
            )
        ]

    def reject(self, response_format: ResponseFormat, *, is_large: bool = False) -> None:
        """Remember that the server does not support a format; for JSON Schema, perhaps only large schemas."""
        name = (
            LARGE_SCHEMA
            if is_large and response_format is ResponseFormat.JSON_SCHEMA
            else response_format.value
        )
        self._capabilities.learn(name, is_supported=False)


@dataclass(frozen=True)
class AnswerSchema:
    """The schema that an answer must follow, and a larger one in the strict subset for servers that enforce it.

    Every value of `enforced` must be a value of `checked`, once the nulls of optional members are dropped.
    """

    checked: Mapping[str, Any]
    enforced: Mapping[str, Any] | None = None

    def strict(self) -> dict[str, Any] | None:
        """Return the schema to be enforced; None if the strict subset can't express it."""
        return strict_schema(self.checked) if self.enforced is None else dict(self.enforced)


@dataclass(frozen=True)
class StructuredAnswer:
    """A response, the value in it, and the response format that was asked for."""

    response: ModelResponse
    value: Any
    response_format: ResponseFormat


def complete_structured(
    request: ModelRequest, wanted: AnswerSchema, *, send: Send, formats: SupportedFormats
) -> StructuredAnswer:
    """Ask until the answer holds a value of the schema.

    A wrong answer is returned with its faults at most MAX_CORRECTIONS times. Raises ModelAnswerInvalid,
    ModelAnswerCut, and whatever `send` raises.
    """
    schema = wanted.checked
    sent, response = _first_response(request, wanted, send=send, formats=formats)
    for correction in range(MAX_CORRECTIONS + 1):
        value, wrong = parse_value(response.text, schema)
        is_cut = response.finish is FinishReason.LENGTH
        if not wrong and not (is_cut and parse_values(response.text).breaks_off):
            text = without_reasoning(response.text)
            return StructuredAnswer(replace(response, text=text), value, sent.response_format)
        if is_cut:
            raise ModelAnswerCut(
                f"The answer does not fit into {request.max_output_tokens} tokens.",
                details={"model": response.model},
            )
        if correction < MAX_CORRECTIONS:
            sent = _stated_in_words(sent, response.text, wanted, formats=formats)
            messages = extend_user_message(sent.messages, *_correction(response.text, wrong, sent))
            sent = replace(sent, messages=messages)
            response = _send_correction(sent, send=send, wrong=wrong[0])
    raise ModelAnswerInvalid(
        f"The answer is still wrong after {MAX_CORRECTIONS} corrections: {wrong[0]}.",
        details={"model": response.model, "errors": wrong[:5]},
    )


def parse_value(text: str, schema: Mapping[str, Any]) -> tuple[Any, list[str]]:
    """Return the last JSON value in `text` that `schema` accepts with no faults, else None with the faults.

    Reasoning is skipped, and drafts before the answer are allowed. An ambiguous text is a fault too: a later value
    has members of the schema but breaks it, or an earlier valid one differs in a boolean member.
    """
    checked = [_checked(candidate, schema) for candidate in parse_values(text).values]
    valid = [value for value, wrong in checked if not wrong]
    last_faults = next(
        (wrong for value, wrong in reversed(checked) if not wrong or _shares_members(value, schema)), None
    )
    if last_faults or not valid:
        return None, last_faults or next((wrong for _, wrong in checked), ["there is no JSON value in it"])
    if differing := _differing_boolean(valid, schema):
        return None, [f"it holds {len(valid)} values that differ in {differing}: give one, your final answer"]
    return valid[-1], []


def boolean_members(
    value: Any, schema: Any, *, root: Any = None, path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], bool | None]]:
    """Yield (path, value) for each member of `value` that `schema` declares as boolean."""
    root = schema if root is None else root
    schema = resolve(schema, root)
    if not isinstance(schema, Mapping):
        return
    if isinstance(value, list):
        for number, item in enumerate(value):
            yield from boolean_members(item, schema.get("items"), root=root, path=(*path, str(number)))
    elif isinstance(value, dict):
        members = schema.get("properties") or {}
        for name in value.keys() & members.keys():
            yield from boolean_members(value[name], members[name], root=root, path=(*path, name))
    elif value is None or isinstance(value, bool):
        kinds = schema.get("type", ())
        if "boolean" in ([kinds] if isinstance(kinds, str) else kinds):
            yield path, value


def _checked(candidate: Any, schema: Mapping[str, Any]) -> tuple[Any, list[str]]:
    """Return a value without the nulls of optional members, and its faults."""
    if wrong := _unstorable(candidate):
        return candidate, wrong
    value = without_nulls(candidate, schema)
    return value, [_fault_text(fault) for fault in faults(schema, value)]


def _shares_members(value: Any, schema: Mapping[str, Any]) -> bool:
    """Tell whether an invalid value was meant as the answer: it has a member that the schema names."""
    return isinstance(value, Mapping) and not value.keys().isdisjoint(schema.get("properties", ()))


def _differing_boolean(valid: Sequence[Any], schema: Mapping[str, Any]) -> str:
    """Return the path of a boolean member in which an earlier value differs from the last, or an empty string."""
    final = dict(boolean_members(valid[-1], schema))
    for earlier in valid[:-1]:
        for path, boolean in boolean_members(earlier, schema):
            if path in final and final[path] is not boolean:
                return ".".join(path)
    return ""


def _first_response(
    request: ModelRequest, wanted: AnswerSchema, *, send: Send, formats: SupportedFormats
) -> tuple[ModelRequest, ModelResponse]:
    """Try the formats, best first, while the server rejects the request; remember the one it accepts."""
    strict, is_large = wanted.strict(), wanted.enforced is not None
    usable = [
        response_format
        for response_format in formats.all
        if response_format is not ResponseFormat.JSON_SCHEMA
        or strict
        or ResponseFormat.JSON_OBJECT in formats.all
    ]
    rejected: list[ResponseFormat] = []
    last: ModelRequestRejected | None = None
    for response_format in formats.to_try(usable, is_large=is_large):
        sent = _with_format(request, response_format, wanted.checked, strict)
        try:
            response = send(sent)
        except ModelRequestRejected as error:
            if not _may_be_the_format(error):
                raise
            rejected.append(response_format)
            last = error
            continue
        for other in rejected:
            formats.reject(other, is_large=is_large)
        return sent, response
    assert last is not None  # noqa: S101  # there is at least one format
    raise last


def _may_be_the_format(error: ModelRequestRejected) -> bool:
    """Tell whether the server may have rejected a request because of its response format."""
    if error.details.get("status") not in (400, 422):
        return bool(error.details.get("is_format"))
    return error.details.get("reason") != "context_length_exceeded" and not _CONTEXT.search(error.message)


def _stated_in_words(
    sent: ModelRequest, text: str, wanted: AnswerSchema, *, formats: SupportedFormats
) -> ModelRequest:
    """Return the request for a correction: with the schema in words if the server ignored it.

    A server that enforces a schema gives no answer that breaks it; one that ignores strict schemas is remembered.
    """
    if sent.response_format is not ResponseFormat.JSON_SCHEMA or sent.schema is None:
        return sent
    sent_schema = sent.schema
    if any(not faults(sent_schema, value) for value in parse_values(text).values):
        return sent
    if sent.is_strict:
        formats.reject(ResponseFormat.JSON_SCHEMA, is_large=wanted.enforced is not None)
    following = next(form for form in formats.all if form is not ResponseFormat.JSON_SCHEMA)
    plain = replace(sent, schema=None, is_strict=False)
    return _with_format(plain, following, wanted.checked, None)


def _with_format(
    request: ModelRequest,
    response_format: ResponseFormat,
    schema: Mapping[str, Any],
    strict: dict[str, Any] | None,
) -> ModelRequest:
    if response_format is ResponseFormat.JSON_SCHEMA:
        sent_schema = strict or dict(schema)
        return replace(
            request, response_format=response_format, schema=sent_schema, is_strict=strict is not None
        )
    instruction = compose(
        Role.SYSTEM,
        trusted("Answer with one JSON value and nothing else. It must follow this JSON Schema:"),
        trusted_registry_text(json.dumps(schema, ensure_ascii=False)),
    )
    messages = request.messages
    first = next(
        (at for at, message in enumerate(messages) if message.role is not Role.SYSTEM), len(messages)
    )
    return replace(
        request,
        response_format=response_format,
        messages=(*messages[:first], instruction, *messages[first:]),
    )


def _send_correction(request: ModelRequest, *, send: Send, wrong: str) -> ModelResponse:
    try:
        return send(request)
    except BudgetExceeded as exceeded:
        exceeded.details["earlier_error"] = {
            "code": ModelAnswerInvalid.code,
            "message": f"The model's answer had to be corrected: {wrong}",
        }
        raise


def _correction(text: str, wrong: Sequence[str], sent: ModelRequest) -> tuple[Part, ...]:
    """Return the end of the wrong answer and its faults, as parts of a message."""
    # without its reasoning, which would be charged again, and without characters that a request can't carry
    longest = min(_CHARACTERS_A_TOKEN * sent.max_output_tokens, _MAX_ECHOED_CHARACTERS)
    answer = replace_unstorable(without_reasoning(text))[-longest:]
    return (
        trusted("You answered before:"),
        Untrusted("answer", answer or "(empty)"),
        trusted("That answer can't be used:"),
        Untrusted("faults", "\n".join(f"- {fault}" for fault in wrong)),
        trusted("Answer again with the whole, corrected JSON value and nothing else."),
    )


def _fault_text(fault: SchemaFault) -> str:
    return f"{'.'.join(map(str, fault.path)) or 'the value'} {fault.message}"


def _unstorable(value: Any) -> list[str]:
    """Return why a database can't store the value: one fault, or none."""
    waiting: list[tuple[Any, int]] = [(value, 1)]
    while waiting:
        item, depth = waiting.pop()
        if depth > _MAX_DEPTH:
            return [f"the value is nested deeper than {_MAX_DEPTH} levels"]
        if isinstance(item, str) and replace_unstorable(item) != item:
            return ["the value holds a NUL character or half of a surrogate pair"]
        if isinstance(item, dict):
            waiting.extend((part, depth + 1) for pair in item.items() for part in pair)
        elif isinstance(item, list):
            waiting.extend((part, depth + 1) for part in item)
    return []
