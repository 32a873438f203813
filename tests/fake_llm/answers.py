"""Answers without a script: a value that fits the requested JSON Schema, or a fixed sentence; and text vectors."""

import json
import math
import re
import zlib
from collections.abc import Mapping
from typing import Any

SENTENCE = "This text was made by the fake model server, not by a model."
_ID_PATTERN = "^[0-9a-f]{64}$"
_DEEPEST = 12
_DIMENSIONS = 64
_SCHEMA_IN_PROMPT = re.compile(r"JSON Schema:\n(?=\{)")
_WORD = re.compile(r"\w+")


def vector_of(text: str) -> list[float]:
    """Return a vector of length 1 that counts the text's words, so that similar texts have similar vectors."""
    counts = [0.0] * _DIMENSIONS
    for word in _WORD.findall(text.casefold()):
        counts[zlib.crc32(word.encode()) % _DIMENSIONS] += 1.0
    length = math.hypot(*counts) or 1.0
    return [count / length for count in counts]


def schema_in_words(text: str) -> Any:
    """Return the JSON Schema in a prompt for servers without schema support; None if there is none."""
    found = _SCHEMA_IN_PROMPT.search(text)
    try:
        return json.JSONDecoder().raw_decode(text, found.end())[0] if found else None
    except ValueError:
        return None


def unscripted(body: Mapping[str, Any]) -> str:
    """Return the answer to a request without a script: a value of its schema as JSON, or SENTENCE."""
    config = body.get("output_config") or body.get("text") or {}
    asked = body.get("response_format") or config.get("format") or {}
    schema = asked.get("schema") or (asked.get("json_schema") or {}).get("schema")
    schema = schema or schema_in_words(prompt_text(body))
    return json.dumps(example(schema)) if schema else SENTENCE


def prompt_text(body: Mapping[str, Any]) -> str:
    """Return all texts of a request; Anthropic and Responses have the system text apart, perhaps in blocks."""
    system = body.get("system") or body.get("instructions") or ""
    texts = [system] if isinstance(system, str) else [block["text"] for block in system]
    turns = body.get("messages", body.get("input"))
    texts += [str(turn.get("content", "")) for turn in turns or () if isinstance(turn, Mapping)]
    return "\n".join(texts)


def example(schema: Any, *, root: Any = None, depth: int = 0) -> Any:
    """Return a small value that satisfies a JSON Schema of the usual keywords, always the same one."""
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
    if schema.get("pattern") == _ID_PATTERN:
        return "0" * 64
    return SENTENCE[: schema.get("maxLength", len(SENTENCE))].ljust(schema.get("minLength", 0), ".")


def _resolve(reference: str, root: Any) -> Any:
    found = root
    for part in reference.removeprefix("#").strip("/").split("/"):
        found = found.get(part, {}) if isinstance(found, Mapping) and part else found
    return found
