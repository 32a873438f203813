"""Fields of our requests and answers: values of two shapes, bounded objects, times in UTC."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, ClassVar

from marshmallow import ValidationError, fields

from orchestrator.models.task_contract import (
    MAX_CONSTRAINTS,
    MAX_CONTEXT_BYTES,
    MAX_CONTEXT_CHARACTERS,
    Criterion,
)
from orchestrator.rules.check_rule import validate_rule

MAX_WORDS = 2_000
MAX_OBJECT_BYTES = 16 * 1024
_WORDS = {"type": "string", "minLength": 1, "maxLength": MAX_WORDS}
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


class TrimmedText(fields.String):
    """A string whose surrounding white space does not count."""

    def _deserialize(
        self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any
    ) -> str:
        return super()._deserialize(value, attr, data, **kwargs).strip()


class Dollars(fields.Float):
    """A number; a string that looks like one is refused."""

    def _deserialize(
        self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any
    ) -> float:
        if isinstance(value, str):
            raise self.make_error("invalid", input=value)
        return super()._deserialize(value, attr, data, **kwargs)


class Moment(fields.AwareDateTime):
    """A moment with its offset, brought to UTC: Postgres does not take every offset that Python does."""

    def _deserialize(
        self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any
    ) -> datetime:
        # RFC 3339 allows a lower-case t and z, marshmallow does not
        text = value.upper() if isinstance(value, str) else value
        moment = super()._deserialize(text, attr, data, **kwargs)
        try:
            return moment.astimezone(UTC)
        except OverflowError as error:
            raise self.make_error("invalid", input=value, obj_type=self.OBJ_TYPE) from error


class JsonObject(fields.Field[dict[str, Any]]):
    """A JSON object of at most `max_bytes` when written compactly."""

    shape: ClassVar[dict[str, Any]] = {"type": "object"}

    def __init__(self, *, max_bytes: int = MAX_OBJECT_BYTES, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.max_bytes = max_bytes

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:
        return _bounded_object(value, self.max_bytes)


class Constraints(fields.Field[list[str] | dict[str, Any]]):
    """What the result must respect: a list of strings, or an object."""

    shape: ClassVar[dict[str, Any]] = {
        "anyOf": [
            {"type": "array", "maxItems": MAX_CONSTRAINTS, "items": _WORDS},
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
        return [_words(item, "Every constraint") for item in value]


class Context(fields.Field[dict[str, Any] | str]):
    """What the arms should know: an object, or a text."""

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
    """An acceptance criterion: words alone, or {text, check} with a machine check."""

    shape: ClassVar[dict[str, Any]] = {
        "anyOf": [
            _WORDS,
            {
                "type": "object",
                "required": ["text"],
                "additionalProperties": False,
                "properties": {"text": _WORDS, "check": {"type": ["object", "null"]}},
            },
        ]
    }

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> Criterion:
        if isinstance(value, str):
            return Criterion(_words(value, "A criterion"))
        if not isinstance(value, dict):
            raise ValidationError("Must be a string or an object {text, check}.")
        if unknown := sorted(set(value) - {"text", "check"}):
            raise ValidationError({name[:64]: ["Unknown field."] for name in unknown})
        check = value.get("check")
        if check is not None and (faults := validate_rule(check)):
            raise ValidationError({"check": faults})
        return Criterion(_words(value.get("text"), "A criterion's text"), check)


class PlanField(fields.Field[dict[str, Any]]):
    """A client's plan: {"steps": [...]}, or the list alone; the planner checks what it holds."""

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
    """A moment as RFC 3339 in UTC with milliseconds."""

    shape: ClassVar[dict[str, Any]] = {"type": "string", "format": "date-time"}

    def _serialize(self, value: Any, *args: Any, **kwargs: Any) -> str | None:
        if value is None:
            return None
        moment: datetime = value
        return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _words(value: Any, what: str) -> str:
    text = value.strip() if isinstance(value, str) else ""
    if not 0 < len(text) <= MAX_WORDS:
        raise ValidationError(f"{what} must be a string of 1 to {MAX_WORDS} characters.")
    return text


def _bounded_object(value: Any, max_bytes: int) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValidationError("Must be an object.")
    if len(json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()) > max_bytes:
        raise ValidationError(f"Larger than {max_bytes} bytes as JSON.")
    return value
