"""Writes JSON Schemas as the types of a language."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from clients.generator.operations import Method


@dataclass(frozen=True)
class Language:
    """How a language writes types: the name of each simple type of JSON Schema and of `any`, patterns, and literals.

    `prefix` goes before names of components in methods, which are in another module than the types.
    """

    names: Mapping[str, str]
    array: str
    record: str
    literals: Callable[[Sequence[Any]], Sequence[str]]
    prefix: str

    def type_of(self, shape: Mapping[str, Any], *, prefix: str = "") -> str:
        """Return the type of a JSON Schema; `prefix` goes before names of components."""
        if "$ref" in shape:
            return prefix + str(shape["$ref"].rpartition("/")[2])
        if "enum" in shape:
            return self._union(self.literals(shape["enum"]))
        for word in ("anyOf", "oneOf"):
            if word in shape:
                return self._union([self.type_of(choice, prefix=prefix) for choice in shape[word]])
        kinds = shape.get("type", ["any"])
        kinds = kinds if isinstance(kinds, list) else [kinds]
        return self._union([self._of_kind(kind, shape, prefix) for kind in kinds])

    def result_of(self, method: Method) -> str:
        """Return the type of what a method returns."""
        if method.reads != "json":
            return self.names[{"text": "string", "nothing": "nothing"}[method.reads]]
        shapes = [self.type_of(answer, prefix=self.prefix) for answer in method.answers]
        return " | ".join(dict.fromkeys(name for shape in shapes for name in shape.split(" | ")))

    def _of_kind(self, kind: str, shape: Mapping[str, Any], prefix: str) -> str:
        if kind == "array":
            return self.array.format(self.type_of(shape.get("items", {}), prefix=prefix))
        if kind == "object":
            values = shape.get("additionalProperties")
            return self.record.format(
                self.type_of(values if isinstance(values, Mapping) else {}, prefix=prefix)
            )
        return self.names[kind]

    def _union(self, names: Sequence[str]) -> str:
        distinct = dict.fromkeys(names)
        return self.names["any"] if self.names["any"] in distinct else " | ".join(distinct)
