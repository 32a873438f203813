"""Writes the short types of a manifest out as JSON Schemas; types.toml says how types are written."""

from collections.abc import Mapping
from typing import Any, Final

_JSON_TYPES = ("string", "integer", "number", "boolean", "object", "array", "null")
# members of a JSON Schema that hold schemas themselves
_HOLD_ONE = ("items", "additionalProperties")
_HOLD_SEVERAL = ("anyOf", "allOf", "oneOf")

# types that name each other twice would double in size with each
MAX_PARTS: Final = 20_000


class ShortTypes:
    """The types that one manifest may name: its own and those of types.toml."""

    def __init__(self, named: Mapping[str, Any]) -> None:
        self._named = named
        self._left = MAX_PARTS

    def contract(self, written: str | Mapping[str, Any]) -> dict[str, Any]:
        """Return the schema of an action's input or output: a table of members, or the name of a type.

        Raises ValueError for a type that is defined nowhere, or by itself.
        """
        try:
            return self._schema(written) if isinstance(written, str) else self._object(written)
        except RecursionError:
            raise ValueError(
                "a type is defined by itself, or is nested too deeply: write it without itself"
            ) from None

    def _schema(self, written: Any) -> dict[str, Any]:
        self._left -= 1
        if self._left < 0:
            raise ValueError(f"the types have more than {MAX_PARTS:,} parts when they are written out")
        if isinstance(written, str):
            return self._by_name(written)
        if isinstance(written, list):
            if len(written) != 1:
                raise ValueError(
                    f"an array of a type is written with one type in brackets, not {len(written)}"
                )
            return {"type": "array", "items": self._schema(written[0])}
        if not isinstance(written, Mapping):
            raise ValueError(f"a type is a name, a table or an array of one type, not {written!r:.40}")
        schema = {keyword: self._keyword(keyword, value) for keyword, value in written.items()}
        return {**self._object(schema.pop("members")), **schema} if "members" in schema else schema

    def _by_name(self, name: str) -> dict[str, Any]:
        if name in self._named:
            return self._schema(self._named[name])
        if name in _JSON_TYPES:
            return {"type": name}
        if name == "any":
            return {}
        raise ValueError(
            f"names a type that neither it nor types.toml defines: {name!r:.80}; "
            f"the plain ones are any, {', '.join(sorted(_JSON_TYPES))}"
        )

    def _keyword(self, keyword: str, value: Any) -> Any:
        if keyword in _HOLD_ONE and not isinstance(value, bool):
            return self._schema(value)
        if keyword in _HOLD_SEVERAL and isinstance(value, list):
            return [self._schema(one) for one in value]
        if keyword == "properties" and isinstance(value, Mapping):
            return {name: self._schema(one) for name, one in value.items()}
        return value

    def _object(self, members: Any) -> dict[str, Any]:
        if not isinstance(members, Mapping):
            raise ValueError(f"members are a table of names and types, not {members!r:.40}")
        return {
            "type": "object",
            "properties": {name.removesuffix("?"): self._schema(one) for name, one in members.items()},
            "required": [name for name in members if not name.endswith("?")],
            "additionalProperties": False,
        }
