"""What the fake model says when nobody scripted it: a value of the form that was asked for, or a plain sentence."""

import json
import math
import re
import zlib
from collections.abc import Mapping
from typing import Any

SENTENCE = "This text was made by the fake model server, not by a model."
_DEEPEST = 12
_DIMENSIONS = 64
_TOLD = re.compile(r"JSON Schema:\n(?=\{)")
_WORD = re.compile(r"\w+")


def vector_of(text: str) -> list[float]:
    """Return a vector of length 1 in which each word of the text stands for itself: alike texts lie near each other."""
    counts = [0.0] * _DIMENSIONS
    for word in _WORD.findall(text.casefold()):
        counts[zlib.crc32(word.encode()) % _DIMENSIONS] += 1.0
    length = math.hypot(*counts) or 1.0
    return [count / length for count in counts]


def schema_in_words(text: str) -> Any:
    """Return the JSON Schema that a prompt tells to a server that knows none; None when it tells none."""
    told = _TOLD.search(text)
    try:
        return json.JSONDecoder().raw_decode(text, told.end())[0] if told else None
    except ValueError:
        return None


def example(schema: Any, *, root: Any = None, depth: int = 0) -> Any:
    """Return a small value that a JSON Schema of the usual keywords accepts; the same one each time."""
    root = schema if root is None else root
    if not isinstance(schema, Mapping) or depth > _DEEPEST:
        return None
    if "$ref" in schema:
        return example(_resolve(schema["$ref"], root), root=root, depth=depth + 1)
    for word in ("const", "default"):
        if word in schema:
            return schema[word]
    if schema.get("enum"):
        return schema["enum"][0]
    for word in ("anyOf", "oneOf", "allOf"):
        if schema.get(word):
            return example(schema[word][0], root=root, depth=depth + 1)
    return _of_type(schema, root=root, depth=depth)


def _of_type(schema: Mapping[str, Any], *, root: Any, depth: int) -> Any:
    kind = schema.get("type", "object" if "properties" in schema else "string")
    match kind[0] if isinstance(kind, list) else kind:
        case "object":
            members = schema.get("properties", {})
            return {
                name: example(members.get(name, {}), root=root, depth=depth + 1)
                for name in schema.get("required", ())
            }
        case "array":
            item = schema.get("items", {})
            return [example(item, root=root, depth=depth + 1) for _ in range(schema.get("minItems", 0))]
        case "integer" | "number":
            return schema.get("minimum", schema.get("maximum", 0))
        case "boolean":
            return False
        case "null":
            return None
    return SENTENCE[: schema.get("maxLength", len(SENTENCE))].ljust(schema.get("minLength", 0), ".")


def _resolve(reference: str, root: Any) -> Any:
    found = root
    for part in reference.removeprefix("#").strip("/").split("/"):
        found = found.get(part, {}) if isinstance(found, Mapping) and part else found
    return found
