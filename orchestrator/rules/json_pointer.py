"""Follows JSON pointers (RFC 6901)."""

import re
from typing import Any

_INDEX = re.compile(r"0|[1-9][0-9]{0,8}")


def is_pointer(text: Any) -> bool:
    """Tell whether `text` has the form of a pointer: empty (all of the document) or starting with `/`."""
    return isinstance(text, str) and (not text or text.startswith("/"))


def follow(document: Any, pointer: str) -> Any:
    """Return what `pointer` means in `document`; raises LookupError when there is nothing."""
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
