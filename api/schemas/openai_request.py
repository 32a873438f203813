"""The body of POST /v1/responses in OpenAI's shape, and the task's members that it stands for.

What OctoLLM has no counterpart for is refused with the reason, never ignored.
"""

import base64
import binascii
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from marshmallow import ValidationError, fields, pre_load, validate

from api.schemas.fields import MAX_TEXT_CHARACTERS as MAX_RULE_CHARACTERS
from api.schemas.fields import JsonObject
from api.schemas.requests import RequestSchema, read
from orchestrator.lifecycle.upload import Upload
from orchestrator.models.errors import InvalidInput
from orchestrator.models.task_contract import (
    MAX_ATTACHMENTS,
    MAX_BUDGET_TOKENS,
    MAX_CONSTRAINTS,
    MAX_CONTEXT_BYTES,
    MAX_GOAL_CHARACTERS,
)

MODEL = "octollm"
RECIPE_PREFIX = MODEL + "/"
MAX_MESSAGES = 100
MAX_PARTS = 50
MAX_TEXT_CHARACTERS = 200_000
MAX_METADATA = 16
MAX_METADATA_KEY, MAX_METADATA_VALUE = 64, 512
OWN_PREFIX = "octollm_"
"""What the metadata's keys of ours begin with."""
# a value of these that asks for nothing is accepted: some clients always send it
_NEUTRAL: Mapping[str, tuple[Any, ...]] = {
    "include": ([],),
    "parallel_tool_calls": (True, False),
    "service_tier": ("auto", "default"),
    "store": (True,),
    "stream_options": ({}, {"include_obfuscation": False}),
    "tool_choice": ("auto", "none"),
    "tools": ([],),
    "truncation": ("disabled",),
}
_REASONS: Mapping[str, str] = {
    "conversation": "each response is a task of its own; send earlier messages in `input`",
    "include": "there is nothing to include",
    "previous_response_id": "each response is a task of its own; send earlier messages in `input`",
    "prompt": "send the text in `input`",
    "service_tier": "only auto and default; a task's priority is `octollm.priority`",
    "store": "a response is always stored, until its retention ends",
    "temperature": "the operator configures the models; a response is planned, run and judged",
    "tool_choice": "only auto and none",
    "tools": "the arms of this server are the tools, and the planner chooses them; see GET /v1/arms",
    "top_p": "the operator configures the models; a response is planned, run and judged",
    "truncation": "only disabled",
}
# members of a task that this body has other members for
_TAKEN = ("goal", "context", "attachments", "recipe", "output_schema", "metadata", "task_id")
_DATA_URL = re.compile(r"data:([A-Za-z0-9!#$&^_.+/-]{1,127});base64,")
_ARTIFACT_ID = re.compile(r"[0-9a-f]{64}")
_ASSISTANT_PARTS = ("output_text", "refusal")


@dataclass
class AskedResponse:
    """A request as a task: the `members` of its body for POST /v1/tasks, and the `files` that came with it."""

    members: dict[str, Any]
    files: list[Upload] = field(default_factory=list)
    is_background: bool = False
    is_stream: bool = False


def _require_metadata(metadata: dict[str, Any]) -> None:
    if len(metadata) > MAX_METADATA:
        raise ValidationError(f"Longer than {MAX_METADATA} entries.")
    for name, value in metadata.items():
        if not isinstance(value, str) or len(value) > MAX_METADATA_VALUE:
            raise ValidationError(f"Each value must be a string of at most {MAX_METADATA_VALUE} characters.")
        if not 0 < len(name) <= MAX_METADATA_KEY or name.startswith(OWN_PREFIX):
            raise ValidationError(
                f"A key must have 1 to {MAX_METADATA_KEY} characters and not begin with {OWN_PREFIX}."
            )


class InputField(fields.Field[list[dict[str, Any]]]):
    """What is asked: a text, or a list of messages; as messages {role, content} whose content is a list of parts."""

    shape: Mapping[str, Any] = {
        "anyOf": [
            {"type": "string", "minLength": 1, "maxLength": MAX_GOAL_CHARACTERS},
            {
                "type": "array",
                "minItems": 1,
                "maxItems": MAX_MESSAGES,
                "items": {"type": "object", "required": ["role", "content"]},
            },
        ]
    }

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> list[dict[str, Any]]:
        if isinstance(value, str):
            return [_message({"role": "user", "content": value}, 0)]
        if not isinstance(value, list) or not 0 < len(value) <= MAX_MESSAGES:
            raise ValidationError(f"Must be a text, or a list of 1 to {MAX_MESSAGES} messages.")
        return [_message(item, index) for index, item in enumerate(value)]


class ResponseRequestSchema(RequestSchema):
    """A request for a response, in OpenAI's shape; `octollm` has members of POST /v1/tasks that OpenAI has none for."""

    model = fields.String(required=True, validate=validate.Length(1, 256))
    input = InputField(required=True)
    instructions = fields.String(validate=validate.Length(1, MAX_TEXT_CHARACTERS))
    background = fields.Boolean(load_default=False)
    stream = fields.Boolean(load_default=False)
    metadata = JsonObject(validate=_require_metadata)
    max_output_tokens = fields.Integer(strict=True, validate=validate.Range(1, MAX_BUDGET_TOKENS))
    text = JsonObject(max_bytes=2 * MAX_CONTEXT_BYTES)
    octollm = JsonObject(max_bytes=8 * MAX_CONTEXT_BYTES)

    @pre_load
    def _refuse_unsupported(self, members: Any, **_: Any) -> Any:
        """Drop members that ask for nothing; refuse those that this server can't do, with the reason."""
        if not isinstance(members, dict):
            return members
        kept = {}
        for name, value in members.items():
            if name in self.fields:
                kept[name] = value
            elif value is not None and not _is_neutral(name, value):
                reason = _REASONS.get(name, "OctoLLM has no counterpart for it")
                raise ValidationError(f"Not supported: {reason}.", name[:64])
        return kept


_REQUEST = ResponseRequestSchema()


def read_request(members: Mapping[str, Any]) -> AskedResponse:
    """Return the task that a body in OpenAI's shape asks for. Raises InvalidInput."""
    given = read(_REQUEST, members)
    asked = AskedResponse(
        dict(given.get("octollm") or {}), is_background=given["background"], is_stream=given["stream"]
    )
    for name in _TAKEN:
        if name in asked.members:
            raise InvalidInput.at(f"octollm.{name}", "use the body's own members for it")
    _add_model(asked, given["model"])
    _add_messages(asked, given["input"], given.get("instructions"))
    if "metadata" in given:
        asked.members["metadata"] = given["metadata"]
    if "text" in given:
        _add_format(asked, given["text"])
    if "max_output_tokens" in given:
        _add_limit(asked, given["max_output_tokens"])
    return asked


def _is_neutral(name: str, value: Any) -> bool:
    # in Python the number 1 is equal to true
    return any(type(value) is type(one) and value == one for one in _NEUTRAL.get(name, ()))


def _message(item: Any, index: int) -> dict[str, Any]:
    """Return a message with a list of checked parts; items of other kinds are refused."""
    if not isinstance(item, dict) or item.get("type", "message") != "message":
        raise ValidationError({index: ["Must be a message: {role, content}."]})
    role, content = item.get("role"), item.get("content")
    if role not in ("user", "assistant", "system", "developer"):
        raise ValidationError({index: {"role": ["Must be user, assistant, system or developer."]}})
    if isinstance(content, str):
        content = [{"type": "input_text", "text": content}]
    if not isinstance(content, list) or not 0 < len(content) <= MAX_PARTS:
        raise ValidationError({index: {"content": [f"Must be a text, or a list of 1 to {MAX_PARTS} parts."]}})
    for place, part in enumerate(content):
        if fault := _part_fault(part, role):
            raise ValidationError({index: {"content": {place: [fault]}}})
    return {"role": role, "content": content}


def _part_fault(part: Any, role: str) -> str | None:
    kind = part.get("type") if isinstance(part, dict) else None
    if kind == "input_text" or (kind in _ASSISTANT_PARTS and role == "assistant"):
        text = part.get("refusal" if kind == "refusal" else "text")
        is_text = isinstance(text, str) and len(text) <= MAX_TEXT_CHARACTERS
        return None if is_text else f"Needs a text of at most {MAX_TEXT_CHARACTERS} characters."
    if kind == "input_file" and role == "user":
        return _file_fault(part)
    return (
        "Must be {type: input_text, text}, or in a user's message {type: input_file, file_id or file_data}."
    )


def _file_fault(part: Mapping[str, Any]) -> str | None:
    sources = [name for name in ("file_id", "file_data", "file_url") if part.get(name) is not None]
    if sources not in (["file_id"], ["file_data"]):
        return (
            "A file needs file_id or file_data; a file_url is not fetched: send the file to POST /v1/files."
        )
    value = part[sources[0]]
    if sources == ["file_id"] and not (isinstance(value, str) and _ARTIFACT_ID.fullmatch(value)):
        return "file_id must be an artifact id of POST /v1/files."
    name = part.get("filename")
    if not isinstance(value, str) or not isinstance(name, str | None) or len(name or "") > 255:
        return "file_data and filename must be strings; a name has at most 255 characters."
    return None


def _add_model(asked: AskedResponse, model: str) -> None:
    """Write the recipe that a model named octollm/<recipe> means; whether it exists is the submission's to say."""
    if model.startswith(RECIPE_PREFIX):
        asked.members["recipe"] = model.removeprefix(RECIPE_PREFIX)
    elif model != MODEL:
        raise InvalidInput.at(
            "model", f"there is no such model: use {MODEL}, or {RECIPE_PREFIX}<recipe> of GET /v1/models"
        )


def _add_messages(asked: AskedResponse, messages: list[dict[str, Any]], instructions: str | None) -> None:
    """The last user's message is the goal, what precedes it is the context, and instructions are constraints."""
    rules = [instructions] if instructions else []
    rules += [_text(message) for message in messages if message["role"] in ("system", "developer")]
    said = [message for message in messages if message["role"] in ("user", "assistant")]
    if not said or said[-1]["role"] != "user":
        raise InvalidInput.at("input", "the last message must be a user's: it is the goal")
    goal = _text(said[-1])
    if not goal:
        raise InvalidInput.at("input", "the last message has no text: say what is to be done")
    if len(goal) > MAX_GOAL_CHARACTERS:
        message = f"the last message has {len(goal)} characters, and a goal at most {MAX_GOAL_CHARACTERS}"
        raise InvalidInput.at("input", f"{message}; send what it is about as an input_file")
    asked.members["goal"] = goal
    if rules:
        if len(rules) > MAX_CONSTRAINTS or any(len(rule) > MAX_RULE_CHARACTERS for rule in rules):
            limits = f"at most {MAX_CONSTRAINTS}, of {MAX_RULE_CHARACTERS} characters each"
            raise InvalidInput.at(
                "instructions", f"instructions and system messages: {limits}; send more as an input_file"
            )
        if asked.members.get("constraints"):
            raise InvalidInput.at(
                "octollm.constraints", "instructions and system messages are the constraints"
            )
        asked.members["constraints"] = rules
    if earlier := [{"role": one["role"], "text": _text(one)} for one in said[:-1]]:
        asked.members["context"] = {"conversation": earlier}
    ids = [_add_file(asked, part) for one in said for part in one["content"] if part["type"] == "input_file"]
    if len(ids) > MAX_ATTACHMENTS:
        raise InvalidInput.at("input", f"more than {MAX_ATTACHMENTS} files")
    if ids:
        asked.members["attachments"] = list(dict.fromkeys(ids))


def _text(message: Mapping[str, Any]) -> str:
    parts = (
        part.get("text", part.get("refusal")) for part in message["content"] if part["type"] != "input_file"
    )
    return "\n\n".join(parts).strip()


def _add_file(asked: AskedResponse, part: Mapping[str, Any]) -> str:
    """Return the file's artifact id; of one that came with the request, keep the content, to be stored."""
    if part.get("file_id") is not None:
        return str(part["file_id"])
    described = _DATA_URL.match(part["file_data"])
    encoded = part["file_data"][described.end() :] if described else part["file_data"]
    try:
        content = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidInput.at("input", "file_data must be base64, or data:<media type>;base64,...") from error
    if not content:
        raise InvalidInput.at("input", "file_data is empty")
    media_type = described[1] if described else "application/octet-stream"
    asked.files.append(Upload(part.get("filename") or "", media_type, content))
    return hashlib.sha256(content).hexdigest()


def _add_format(asked: AskedResponse, text: Mapping[str, Any]) -> None:
    """Write the JSON Schema of text.format as the task's output schema."""
    if unknown := sorted(text.keys() - {"format", "verbosity"}):
        raise InvalidInput.at(f"text.{unknown[0][:64]}", "not supported")
    if text.get("verbosity") not in (None, "medium"):
        raise InvalidInput.at("text.verbosity", "only medium; say in the instructions how long it should be")
    shape = text.get("format")
    kind = shape.get("type") if isinstance(shape, dict) else shape
    if kind in (None, "text"):
        return
    if kind == "json_object":
        asked.members["output_schema"] = {"type": "object"}
    elif kind == "json_schema" and isinstance(shape, dict) and isinstance(shape.get("schema"), dict):
        asked.members["output_schema"] = shape["schema"]
    else:
        raise InvalidInput.at(
            "text.format", "must have the type text, json_object, or json_schema and a schema"
        )


def _add_limit(asked: AskedResponse, max_tokens: int) -> None:
    """Make it the budget of the whole task: no call of it can write more tokens than that."""
    budget = asked.members.setdefault("budget", {})
    if not isinstance(budget, dict) or "max_tokens" in budget:
        raise InvalidInput.at(
            "octollm.budget", "must be an object without max_tokens beside max_output_tokens"
        )
    asked.members["budget"] = {**budget, "max_tokens": max_tokens}


_OUR_NAMES = {
    "goal": "input",
    "constraints": "instructions",
    "attachments": "input",
    "context": "input",
    "output_schema": "text.format.schema",
    "recipe": "model",
}


def in_openai_terms(error: InvalidInput) -> InvalidInput:
    """Return an error about a task's member as one about the member of OpenAI's that it came from."""
    faults = error.details.get("errors") or []
    if not faults:
        return error
    member, dot, rest = str(faults[0]["field"]).partition(".")
    place = _OUR_NAMES.get(member)
    field_name = f"{place}{dot}{rest}" if place else f"octollm.{faults[0]['field']}"
    return type(error).at(field_name, faults[0]["message"])
