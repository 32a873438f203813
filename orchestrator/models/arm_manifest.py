"""Reads the manifests of the arms (registry/arms/*.toml), and writes their short types out as JSON Schemas."""

import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

_JSON_TYPES = ("string", "integer", "number", "boolean", "object", "array", "null")
# members of a JSON Schema that hold schemas themselves
_HOLD_ONE = ("items", "additionalProperties")
_HOLD_SEVERAL = ("anyOf", "allOf", "oneOf")


def read_manifests(registry: Path) -> Iterator[dict[str, Any]]:
    """Yield the manifests below `registry/arms` in order of file names, with each action's two JSON Schemas.

    An action has `input_schema` and `output_schema` in place of `input` and `output`. Raises ValueError, which names
    the file, for a type that is defined nowhere.
    """
    shared = _read(registry / "types.toml")["types"]
    for path in sorted((registry / "arms").glob("*.toml")):
        manifest = _read(path)
        types = _Types(path.name, {**shared, **manifest.pop("types", {})})
        for action in manifest["actions"].values():
            for side in ("input", "output"):
                action[f"{side}_schema"] = types.contract(action.pop(side))
        yield manifest


class _Types:
    """The types that one manifest may name; registry/types.toml says how types are written."""

    def __init__(self, file: str, named: Mapping[str, Any]) -> None:
        self._file = file
        self._named = named

    def contract(self, written: str | Mapping[str, Any]) -> dict[str, Any]:
        """Return the schema of an action's input or output: a table of members, or the name of a type."""
        return self._schema(written) if isinstance(written, str) else self._object(written)

    def _schema(self, written: Any) -> dict[str, Any]:
        if isinstance(written, str):
            return self._by_name(written)
        if isinstance(written, list):
            return {"type": "array", "items": self._schema(written[0])}
        schema = {keyword: self._keyword(keyword, value) for keyword, value in written.items()}
        return {**self._object(schema.pop("members")), **schema} if "members" in schema else schema

    def _by_name(self, name: str) -> dict[str, Any]:
        if name in self._named:
            return self._schema(self._named[name])
        if name in _JSON_TYPES:
            return {"type": name}
        if name == "any":
            return {}
        raise ValueError(f"{self._file} names a type that neither it nor types.toml defines: {name!r}")

    def _keyword(self, keyword: str, value: Any) -> Any:
        if keyword in _HOLD_ONE and not isinstance(value, bool):
            return self._schema(value)
        if keyword in _HOLD_SEVERAL:
            return [self._schema(one) for one in value]
        if keyword == "properties":
            return {name: self._schema(one) for name, one in value.items()}
        return value

    def _object(self, members: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "type": "object",
            "properties": {name.removesuffix("?"): self._schema(one) for name, one in members.items()},
            "required": [name for name in members if not name.endswith("?")],
            "additionalProperties": False,
        }


def _read(path: Path) -> dict[str, Any]:
    return tomllib.loads(path.read_text("utf-8"))
