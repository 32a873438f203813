"""JSON pointers (RFC 6901)."""

import re
from typing import Any

_INDEX = re.compile(r"0|[1-9][0-9]{0,8}")


def is_pointer(text: Any) -> bool:
    """Tell whether `text` is a pointer: empty (the whole document) or starting with `/`."""
    return isinstance(text, str) and (not text or text.startswith("/"))


def follow(document: Any, pointer: str) -> Any:
    """Return the value at `pointer` in `document`. Raises LookupError if there is none."""
    node = document
    for token in pointer.split("/")[1:]:
        name = token.replace("~1", "/").replace("~0", "~")
        if isinstance(node, dict) and name in node:
            node = node[name]
        elif isinstance(node, list) and _INDEX.fullmatch(name) and int(name) < len(node):
            node = node[int(name)]
        else:
            raise LookupError(f"there is nothing at {pointer!r}")
    return node


def locate(document: Any, dotted: str) -> tuple[str, str]:
    """Return the pointer to what a dotted path names in `document`, and the part of the path that is not there.

    A member whose name has dots is found. The pointer leads to the deepest place of the path that exists.
    """
    node, pointer, rest = document, "", dotted
    while rest:
        found = _member(node, rest)
        if found is None:
            break
        name, node, rest = found
        pointer += "/" + name.replace("~", "~0").replace("/", "~1")
    return pointer, rest


def _member(node: Any, path: str) -> tuple[str, Any, str] | None:
    """Return the name and the value of the member that a dotted path begins with, and the rest of the path."""
    parts = path.split(".")
    if isinstance(node, list):
        name = parts[0]
        if not _INDEX.fullmatch(name) or int(name) >= len(node):
            return None
        return name, node[int(name)], ".".join(parts[1:])
    for size in range(len(parts), 0, -1):
        name = ".".join(parts[:size])
        if isinstance(node, dict) and name in node:
            return name, node[name], ".".join(parts[size:])
    return None
