"""Makes JSON Schemas of Python types: without references, closed, with the keywords that plans and models know."""

from collections.abc import Mapping
from typing import Any, Final, Literal

from pydantic import TypeAdapter
from pydantic.errors import PydanticSchemaGenerationError, PydanticUndefinedAnnotation, PydanticUserError
from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import core_schema

MAX_OBJECTS: Final = 400
"""The most objects of one schema after types that are used several times were written out each time."""
MAX_DESCRIPTION_CHARACTERS: Final = 300
_NAMED: Final = ("properties", "patternProperties", "dependentSchemas")
_DROPPED: Final = frozenset({"title", "discriminator", "$defs"})


class UnsupportedType(Exception):
    """No JSON Schema can be made of a type; the message says why."""


class _Generator(GenerateJsonSchema):
    """Pydantic's generator, with a Decimal whose pattern has no lookahead (RE2 knows none)."""

    def decimal_schema(self, schema: core_schema.DecimalSchema) -> dict[str, Any]:
        del schema
        if self.mode == "serialization":
            return {"type": "string"}
        return {"anyOf": [{"type": "number"}, {"type": "string"}]}

    def field_is_required(
        self,
        field: core_schema.ModelField | core_schema.DataclassField | core_schema.TypedDictField,
        total: bool,
    ) -> bool:
        """Tell whether a value has the member: in an output also one with a default."""
        is_written = self.mode == "serialization" and field["type"] != "typed-dict-field"
        return is_written or super().field_is_required(field, total)


def adapter_of(hint: Any) -> TypeAdapter[Any]:
    """Return what validates and serialises values of a type; raises UnsupportedType."""
    try:
        return TypeAdapter(hint)
    except (
        PydanticSchemaGenerationError,
        PydanticUndefinedAnnotation,
        PydanticUserError,
        TypeError,
    ) as error:
        raise UnsupportedType(_first_line(error)) from error


def schema_of(adapter: TypeAdapter[Any], mode: Literal["validation", "serialization"]) -> dict[str, Any]:
    """Return the JSON Schema of a type's values in JSON; raises UnsupportedType."""
    try:
        written = adapter.json_schema(mode=mode, schema_generator=_Generator)
    except PydanticUserError as error:
        raise UnsupportedType(_first_line(error)) from error
    schema: dict[str, Any] = _Inlined(written.get("$defs", {})).schema(written, ())
    return schema


class _Inlined:
    """Writes each type out where it is used."""

    def __init__(self, types: Mapping[str, Any]) -> None:
        self._types = types
        self._objects = 0

    def schema(self, node: Any, above: tuple[str, ...]) -> Any:
        """Return a copy of a schema without references; `above` are the types that it is part of."""
        if isinstance(node, list):
            return [self.schema(item, above) for item in node]
        if not isinstance(node, Mapping):
            return node
        self._objects += 1
        if self._objects > MAX_OBJECTS:
            raise UnsupportedType(f"it has more than {MAX_OBJECTS} parts: take fewer or smaller types")
        if "$ref" in node:
            return self._referred(node, above)
        written = {
            _keyword(keyword, node): self._value(keyword, value, above)
            for keyword, value in node.items()
            if keyword not in _DROPPED
        }
        if "properties" in written:
            written.setdefault("additionalProperties", False)
        return written

    def _referred(self, node: Mapping[str, Any], above: tuple[str, ...]) -> dict[str, Any]:
        name = str(node["$ref"]).removeprefix("#/$defs/")
        if name in above:
            raise UnsupportedType(
                f"the type {name} contains itself: a plan can't check values of any depth; take a flat type, such as "
                "a list of items that name their parent"
            )
        beside = {keyword: value for keyword, value in node.items() if keyword != "$ref"}
        whole: dict[str, Any] = self.schema({**self._types[name], **beside}, (*above, name))
        return whole

    def _value(self, keyword: str, value: Any, above: tuple[str, ...]) -> Any:
        if keyword in _NAMED:
            return {name: self.schema(one, above) for name, one in value.items()}
        if keyword in ("default", "examples", "enum", "const"):
            return value
        if keyword == "description":
            return _shortened(str(value))
        return self.schema(value, above)


def _keyword(keyword: str, node: Mapping[str, Any]) -> str:
    """Return `anyOf` for the `oneOf` of a tagged union, whose alternatives exclude each other anyway."""
    return "anyOf" if keyword == "oneOf" and "anyOf" not in node else keyword


def _shortened(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= MAX_DESCRIPTION_CHARACTERS else line[: MAX_DESCRIPTION_CHARACTERS - 1] + "…"


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
