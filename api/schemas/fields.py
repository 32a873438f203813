"""Marshmallow fields of requests and responses: values of several JSON types, size-limited objects, times in UTC.

A field's `shape` is its JSON Schema in the OpenAPI document.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, ClassVar

from marshmallow import ValidationError, fields, validate

from orchestrator.models.task_contract import (
    MAX_CONSTRAINTS,
    MAX_CONTEXT_BYTES,
    MAX_CONTEXT_CHARACTERS,
    Criterion,
)
from orchestrator.rules.check_rule import validate_rule

MAX_TEXT_CHARACTERS = 2_000
MAX_OBJECT_BYTES = 16 * 1024
_TEXT = {"type": "string", "minLength": 1, "maxLength": MAX_TEXT_CHARACTERS}
_STEPS = {
    "type": "array",
    "minItems": 1,
    "items": {
        "type": "object",
        "required": ["id"],
        "properties": {
            "id": {"type": "string"},
            "description": {"type": "string"},
            "arm": {"type": "string"},
            "action": {"type": "string"},
            "inputs": {"type": "object"},
            "depends_on": {"type": "array", "items": {"type": "string"}},
        },
    },
}


def _require_storable(text: str) -> None:
    if "\0" in text:
        raise ValidationError("Must not contain NUL.")


class TrimmedText(fields.String):
    """A string without its surrounding white space."""

    def _deserialize(
        self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any
    ) -> str:
        return super()._deserialize(value, attr, data, **kwargs).strip()


class Dollars(fields.Float):
    """A number; a numeric string is refused."""

    def _deserialize(
        self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any
    ) -> float:
        if isinstance(value, str):
            raise self.make_error("invalid", input=value)
        return super()._deserialize(value, attr, data, **kwargs)


class UtcDateTime(fields.AwareDateTime):
    """A time with its offset, converted to UTC: Postgres does not accept every offset that Python does."""

    def _deserialize(
        self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any
    ) -> datetime:
        # RFC 3339 allows a lower-case t and z, marshmallow does not
        text = value.upper() if isinstance(value, str) else value
        value_in_zone = super()._deserialize(text, attr, data, **kwargs)
        try:
            return value_in_zone.astimezone(UTC)
        except OverflowError as error:
            raise self.make_error("invalid", input=value, obj_type=self.OBJ_TYPE) from error


class SoughtText(fields.String):
    """A text of 1 to `max_characters` to be looked for in the database, which stores no NUL."""

    def __init__(self, *, max_characters: int, **kwargs: Any) -> None:
        super().__init__(validate=[validate.Length(1, max_characters), _require_storable], **kwargs)


class CommaList(fields.Field[tuple[str, ...]]):
    """Some of the `known` words, separated by commas; a word that occurs twice counts once."""

    def __init__(self, known: Sequence[str], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.known = tuple(known)

    @property
    def shape(self) -> dict[str, Any]:
        """The JSON Schema of the text."""
        word = "|".join(self.known)
        return {"type": "string", "pattern": f"^({word})(,({word}))*$"}

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> tuple[str, ...]:
        words = str(value)[:MAX_TEXT_CHARACTERS].split(",")
        if not set(words) <= set(self.known):
            raise ValidationError(f"Must be some of these, separated by commas: {', '.join(self.known)}.")
        return tuple(dict.fromkeys(words))


class JsonObject(fields.Field[dict[str, Any]]):
    """A JSON object of at most `max_bytes` as compact JSON."""

    shape: ClassVar[dict[str, Any]] = {"type": "object"}

    def __init__(self, *, max_bytes: int = MAX_OBJECT_BYTES, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.max_bytes = max_bytes

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:
        return _bounded_object(value, self.max_bytes)


class JsonValue(fields.Field[Any]):
    """Any JSON value but null, of at most `max_bytes` as compact JSON."""

    shape: ClassVar[dict[str, Any]] = {}

    def __init__(self, *, max_bytes: int = MAX_OBJECT_BYTES, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.max_bytes = max_bytes

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> Any:
        _require_size(value, self.max_bytes)
        return value


class Constraints(fields.Field[list[str] | dict[str, Any]]):
    """Constraints on the result: a list of strings, or an object."""

    shape: ClassVar[dict[str, Any]] = {
        "anyOf": [
            {"type": "array", "maxItems": MAX_CONSTRAINTS, "items": _TEXT},
            {"type": "object", "maxProperties": MAX_CONSTRAINTS},
        ]
    }

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> list[str] | dict[str, Any]:
        if not isinstance(value, list | dict):
            raise ValidationError("Must be a list of strings or an object.")
        if len(value) > MAX_CONSTRAINTS:
            raise ValidationError(f"Longer than {MAX_CONSTRAINTS} entries.")
        if isinstance(value, dict):
            return _bounded_object(value, MAX_OBJECT_BYTES)
        return [_text(item, "Every constraint") for item in value]


class Context(fields.Field[dict[str, Any] | str]):
    """Background for the arms: an object, or a text."""

    shape: ClassVar[dict[str, Any]] = {
        "anyOf": [{"type": "object"}, {"type": "string", "maxLength": MAX_CONTEXT_CHARACTERS}]
    }

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> dict[str, Any] | str:
        if isinstance(value, str):
            if len(value) > MAX_CONTEXT_CHARACTERS:
                raise ValidationError(f"Longer than {MAX_CONTEXT_CHARACTERS} characters.")
            return value
        if not isinstance(value, dict):
            raise ValidationError("Must be an object or a string.")
        return _bounded_object(value, MAX_CONTEXT_BYTES)


class CriterionField(fields.Field[Criterion]):
    """An acceptance criterion: a text, or {text, check} with a machine check."""

    shape: ClassVar[dict[str, Any]] = {
        "anyOf": [
            _TEXT,
            {
                "type": "object",
                "required": ["text"],
                "additionalProperties": False,
                "properties": {"text": _TEXT, "check": {"type": ["object", "null"]}},
            },
        ]
    }

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> Criterion:
        if isinstance(value, str):
            return Criterion(_text(value, "A criterion"))
        if not isinstance(value, dict):
            raise ValidationError("Must be a string or an object {text, check}.")
        if unknown := sorted(set(value) - {"text", "check"}):
            raise ValidationError({name[:64]: ["Unknown field."] for name in unknown})
        check = value.get("check")
        if check is not None and (faults := validate_rule(check)):
            raise ValidationError({"check": faults})
        return Criterion(_text(value.get("text"), "A criterion's text"), check)


class PlanField(fields.Field[dict[str, Any]]):
    """A client's plan: {"steps": [...]}, or the list alone; the planner checks its contents."""

    shape: ClassVar[dict[str, Any]] = {
        "anyOf": [
            {"type": "object", "required": ["steps"], "properties": {"steps": _STEPS}},
            _STEPS,
        ]
    }

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:
        if isinstance(value, list):
            return {"steps": value}
        if not isinstance(value, dict):
            raise ValidationError('Must be an object {"steps": [...]} or a list of steps.')
        return value


class Timestamp(fields.Field[datetime]):
    """A time as RFC 3339 in UTC with milliseconds."""

    shape: ClassVar[dict[str, Any]] = {"type": "string", "format": "date-time"}

    def _serialize(self, value: Any, *args: Any, **kwargs: Any) -> str | None:
        if value is None:
            return None
        at: datetime = value
        return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _text(value: Any, what: str) -> str:
    text = value.strip() if isinstance(value, str) else ""
    if not 0 < len(text) <= MAX_TEXT_CHARACTERS:
        raise ValidationError(f"{what} must be a string of 1 to {MAX_TEXT_CHARACTERS} characters.")
    return text


def _bounded_object(value: Any, max_bytes: int) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValidationError("Must be an object.")
    _require_size(value, max_bytes)
    return value


def _require_size(value: Any, max_bytes: int) -> None:
    if len(json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()) > max_bytes:
        raise ValidationError(f"Larger than {max_bytes} bytes as JSON.")
