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
