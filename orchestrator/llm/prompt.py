"""Makes what is said to models: of prompts, files in registry/prompts, and of texts that others wrote, between marks.

`compose` and `extended` are the only makers of messages, and take two kinds of parts. What we wrote stands as it is.
What anybody else wrote (clients, files and their names, tools, models) stands between marks that it can't know, so
that it can't pretend to be ours.
"""

import re
import secrets
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from pathlib import Path

from orchestrator.models.arm_capability import REGISTRY

PROMPTS = REGISTRY / "prompts"
_FILE = re.compile(r"\A---\nname: ([a-z][a-z0-9_.]*)\nversion: (\d+\.\d+\.\d+)\n---\n(.+)\Z", re.DOTALL)
_BLANK = re.compile(r"\{\{([a-z][a-z0-9_]*)\}\}")
_LABEL = re.compile(r"[a-z][a-z_]*")


class Role(StrEnum):
    """Who says a message; the system's come first."""

    SYSTEM = "system"
    USER = "user"
    ASSISTANT = "assistant"


@dataclass(frozen=True)
class Message:
    """One turn of a conversation."""

    role: Role
    text: str


@dataclass(frozen=True)
class Ours:
    """A part that we wrote; `ours`, `of_registry` and Prompt.fill make it, and nobody else."""

    text: str


@dataclass(frozen=True)
class Untrusted:
    """A part that somebody else wrote; the label says in a word of ours what it is."""

    label: str
    text: str

    def __post_init__(self) -> None:
        if not _LABEL.fullmatch(self.label):
            raise ValueError("a label is a word of ours: small letters and _")


Part = Ours | Untrusted


def ours(text: str, *numbers: float) -> Ours:
    """Return a part of our own: `text` is written out where this is called (a test sees to it), with {} for numbers."""
    if not all(isinstance(number, int | float) for number in numbers):
        raise TypeError("only numbers are put into a text of ours: anything else is Untrusted")
    return Ours(text.format(*(f"{number:g}" for number in numbers)) if numbers else text)


def of_registry(text: str) -> Ours:
    """Return a part of our own that was not written where it is used, but comes from the registry or the code."""
    return Ours(text)


def compose(role: Role, *parts: Part) -> Message:
    """Return a message of these parts, a line or more each."""
    return Message(role, _written(parts))


def extended(messages: Sequence[Message], *parts: Part) -> list[Message]:
    """Return the conversation with `parts` at the end of what its user says.

    What a model answered before is a part too, not a turn of its own: untrusted texts speak through it. Its marks are
    new ones, which it did not see. (Also, some servers refuse turns that do not alternate.)
    """
    *earlier, last = messages
    if last.role is not Role.USER:
        return [*messages, compose(Role.USER, *parts)]
    return [*earlier, Message(Role.USER, f"{last.text}\n{_written(parts)}")]


@dataclass(frozen=True)
class Prompt:
    """A text for a model, with blanks written {{like_this}}."""

    name: str
    version: str
    text: str

    @property
    def purpose(self) -> str:
        """Return name@version: what the trace and a completion call it."""
        return f"{self.name}@{self.version}"

    @property
    def blanks(self) -> frozenset[str]:
        """Return the names of its blanks."""
        return frozenset(_BLANK.findall(self.text))

    def fill(self, **values: Ours) -> Ours:
        """Return the text with every blank filled; what is filled in is never looked at for blanks again.

        Raises ValueError when a value is missing or has no blank.
        """
        if values.keys() != self.blanks:
            wrong = ", ".join(sorted(values.keys() ^ self.blanks))
            raise ValueError(f"prompt {self.name}: values and blanks differ in {wrong}")
        return Ours(_BLANK.sub(lambda blank: values[blank[1]].text, self.text))


@cache
def load_prompt(name: str, *, directory: Path = PROMPTS) -> Prompt:
    """Return the prompt `name`. Raises FileNotFoundError, or ValueError when the file is not as it should be."""
    return _read(directory / f"{name}.md")


def all_prompts(*, directory: Path = PROMPTS) -> Iterator[Prompt]:
    """Yield every prompt there is."""
    yield from (_read(path) for path in sorted(directory.glob("*.md")))


def _written(parts: Iterable[Part]) -> str:
    return "\n".join(part.text if isinstance(part, Ours) else _between_marks(part) for part in parts)


def _between_marks(part: Untrusted) -> str:
    mark = secrets.token_hex(8)
    return f"<{part.label} {mark}>\n{part.text}\n</{part.label} {mark}>"


def _read(path: Path) -> Prompt:
    found = _FILE.match(path.read_text("utf-8"))
    if not found or found[1] != path.stem:
        raise ValueError(
            f"{path}: must begin with ---, name: {path.stem}, version: 1.2.3, ---, then the text"
        )
    return Prompt(found[1], found[2], found[3].strip())
