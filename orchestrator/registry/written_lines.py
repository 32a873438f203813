"""Finds the line on which a key of a TOML or JSON file is written, for messages."""

import json
import re
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

_HEADER = re.compile(r"\s*(\[\[?[^\[\]]+\]\]?)\s*(?:#.*)?")
# a bare, dotted or quoted key at the start of a line
_KEY = re.compile(r"""\s*((?:[\w.-]|"[^"\n]*"|'[^'\n]*')+)\s*=""")


def line_of(text: str, place: Sequence[str], *, file: Path) -> int:
    """Return the line of the key at `place` (its parents first), or of the nearest parent that is written, else 1."""
    return _json_line(text, place) if file.suffix == ".json" else _toml_line(text, place)


def _toml_line(text: str, place: Sequence[str]) -> int:
    table: list[str] = []
    best, best_line = 0, 1
    for number, line in enumerate(text.splitlines(), start=1):
        if header := _HEADER.fullmatch(line):
            table = _path(header[1])
            found = table
        elif key := _KEY.match(line):
            found = [*table, *_path(f"{key[1]}=0")]
        else:
            continue
        same = 0
        while same < min(len(found), len(place)) and found[same] == place[same]:
            same += 1
        if same > best:
            best, best_line = same, number
    return best_line


def _path(written: str) -> list[str]:
    """Return the parts of a key that is written as TOML writes it, in a header or before `=`."""
    try:
        node: Any = tomllib.loads(written)
    except tomllib.TOMLDecodeError:
        return []
    parts: list[str] = []
    while node:
        if isinstance(node, list):
            node = node[0]
        else:
            ((name, node),) = node.items()
            parts.append(name)
    return parts


def _json_line(text: str, place: Sequence[str]) -> int:
    position = 0
    for part in place:
        found = text.find(f"{json.dumps(part)}:", position)
        found = found if found >= 0 else text.find(f"{json.dumps(part)} :", position)
        if found < 0:
            break
        position = found
    return text.count("\n", 0, position) + 1
