"""Reads the content of an answer, which is a text or a list of parts, as objects of an SDK or as plain JSON."""

from collections.abc import Iterable, Mapping
from typing import Any

_SAID = {"text", "output_text", "text_delta"}


def text_of(content: Any) -> str:
    """Return what was said in a message's content: a text, or parts, of which those that are thought are left out."""
    if isinstance(content, str):
        return content
    return "".join(_texts(content)) if isinstance(content, list | tuple) else ""


def refusal_of(content: Any) -> str:
    """Return the refusal among the parts of a content; an empty string if there is none."""
    parts = content if isinstance(content, list | tuple) else ()
    refused = (_member(part, "refusal") for part in parts if _member(part, "type") == "refusal")
    return "".join(said for said in refused if isinstance(said, str))


def _texts(parts: Iterable[Any]) -> Iterable[str]:
    for part in parts:
        said = part if isinstance(part, str) else _member(part, "text")
        if isinstance(said, str) and (isinstance(part, str) or _member(part, "type") in {*_SAID, None}):
            yield said


def _member(part: Any, name: str) -> Any:
    return part.get(name) if isinstance(part, Mapping) else getattr(part, name, None)
