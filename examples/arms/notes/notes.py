"""The actions of the example arm `notes`: it writes files, and every write waits until a person approves it."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import Field

from orchestrator.sdk import Failed, action

# no separators and no leading dot: a name can't lead out of the directory
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}$")]
Text = Annotated[str, Field(max_length=100_000)]


@dataclass
class Note:
    """A note; `size_bytes` is its size."""

    summary: str
    name: str
    text: str
    size_bytes: int


@action(effects="write", idempotent=True, approval="ask")
def write(name: Name, text: Text) -> Note:
    """Write a text file; an earlier one of the same name is replaced.

    Args:
        name: the file's name
        text: its whole content
    """
    place = _directory() / name
    # whoever reads meanwhile gets the old file or the new one
    unfinished = place.with_name(f".{name}.new")
    unfinished.write_text(text, "utf-8")
    unfinished.replace(place)
    return _note(place, "wrote")


@action(effects="read")
def read(name: Name) -> Note:
    """Read a text file.

    Args:
        name: the file's name
    """
    place = _directory() / name
    if not place.is_file():
        raise Failed("no_such_note", f"There is no note {name}.")
    return _note(place, "read")


def _directory() -> Path:
    directory = Path(os.environ.get("NOTES_DIRECTORY") or "notes")
    directory.mkdir(parents=True, exist_ok=True)
    return directory


def _note(place: Path, done: str) -> Note:
    text = place.read_text("utf-8")
    return Note(f"{done} {place.name}", place.name, text, place.stat().st_size)
