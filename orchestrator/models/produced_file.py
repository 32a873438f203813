"""A file that a step left: how an output names it, and which files a JSON value names."""

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

MAX_NODES: Final = 20_000
"""How many parts of a value are searched for files, the first ones; what lies behind them names no file."""
ARTIFACT_PATTERN: Final = "^[0-9a-f]{64}$"
"""The pattern by which a schema says that a text is the id of a file."""
_ID = re.compile(r"[0-9a-f]{64}")
_MAX_NAME_CHARACTERS = 255


@dataclass(frozen=True)
class ProducedFile:
    """A file as an output names it; `artifact_id` is its sha256 (64 hex digits)."""

    name: str
    artifact_id: str
    media_type: str
    size_bytes: int

    def to_record(self) -> dict[str, Any]:
        """Return the file as JSON values, of the type `file` of registry/types.toml."""
        return dict(vars(self))


def is_file_id(value: Any) -> bool:
    """Tell whether a value has the form of a file's id."""
    return isinstance(value, str) and _ID.fullmatch(value) is not None


def file_of(value: Any) -> ProducedFile | None:
    """Return the file that a JSON value is; None for any other value.

    A file is an object whose member `artifact_id` is an id. Its other members are not checked.
    """
    if not isinstance(value, Mapping) or not is_file_id(value.get("artifact_id")):
        return None
    name, media_type, size = (value.get(member) for member in ("name", "media_type", "size_bytes"))
    return ProducedFile(
        name[:_MAX_NAME_CHARACTERS] if isinstance(name, str) else "",
        value["artifact_id"],
        media_type if isinstance(media_type, str) else "application/octet-stream",
        size if isinstance(size, int) else 0,
    )


def files_in(value: Any) -> Iterator[ProducedFile]:
    """Yield the files among the first MAX_NODES parts of a JSON value, at any depth, in its order."""
    waiting, seen = [value], 0
    while waiting and seen < MAX_NODES:
        node, seen = waiting.pop(), seen + 1
        if isinstance(node, Mapping):
            if file := file_of(node):
                yield file
            waiting.extend(reversed(list(node.values())))
        elif isinstance(node, list):
            waiting.extend(reversed(node))


def foreign_file(value: Any, own: Collection[str]) -> ProducedFile | None:
    """Return the first file in a JSON value whose id is not one of `own`; None if there is none."""
    return next((file for file in files_in(value) if file.artifact_id not in own), None)
