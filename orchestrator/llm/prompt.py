"""Builds messages to models from prompts (files in registry/prompts) and untrusted texts between delimiters.

Only `compose` and `extend_user_message` build messages, from two kinds of parts. Trusted text, which we wrote, is
inserted as it is. Untrusted text, which anybody else wrote (clients, files and their names, tools, models), is
inserted between random delimiters, so that it can't imitate trusted text.
"""

import re
import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from pathlib import Path

from orchestrator.registry.sources import REGISTRY

PROMPTS = REGISTRY / "prompts"
_FILE = re.compile(r"\A---\nname: ([a-z][a-z0-9_.]*)\nversion: (\d+\.\d+\.\d+)\n---\n(.+)\Z", re.DOTALL)
_PLACEHOLDER = re.compile(r"\{\{([a-z][a-z0-9_]*)\}\}")
_LABEL = re.compile(r"[a-z][a-z_]*")


class Role(StrEnum):
    """The author of a message; system messages come first."""

    SYSTEM = "system"
    USER = "user"
    ASSISTANT = "assistant"


@dataclass(frozen=True)
class Message:
    """One message of a conversation."""

    role: Role
    text: str


@dataclass(frozen=True)
class Trusted:
    """A text that we wrote; only `trusted`, `trusted_registry_text` and Prompt.fill create one."""

    text: str


@dataclass(frozen=True)
class Untrusted:
    """A text that somebody else wrote; our own `label` says what it is."""

    label: str
    text: str

    def __post_init__(self) -> None:
        if not _LABEL.fullmatch(self.label):
            raise ValueError("a label consists of lower-case letters and _")


Part = Trusted | Untrusted


def trusted(text: str, *numbers: float) -> Trusted:
    """Return a trusted part; `text` is a literal at the call (a test enforces it), with {} for each number."""
    if not all(isinstance(number, int | float) for number in numbers):
        raise TypeError("only numbers may be inserted into trusted text: anything else is Untrusted")
    return Trusted(text.format(*(f"{number:g}" for number in numbers)) if numbers else text)


def trusted_registry_text(text: str) -> Trusted:
    """Return a trusted part that is not a literal at the call, but comes from the registry or our code."""
    return Trusted(text)


def compose(role: Role, *parts: Part) -> Message:
    """Return a message of these parts, each on lines of its own."""
    return Message(role, _joined(parts))


def question_of_function(prompt: str, material: Mapping[str, str]) -> tuple[list[Message], str]:
    """Return the messages of a question that an arm's function asks, and their purpose.

    `prompt` is its author's, whose code is as trusted as ours; `material` {label: text} is what others wrote. Raises
    ValueError for a label that is none.
    """
    system = load_prompt("function.ask")
    parts = [Untrusted(label, text) for label, text in material.items()]
    return [compose(Role.SYSTEM, system.fill()), compose(Role.USER, *parts, Trusted(prompt))], system.purpose


def extend_user_message(messages: Sequence[Message], *parts: Part) -> list[Message]:
    """Return the conversation with `parts` appended to its last user message.

    A model's earlier answer is appended as an untrusted part, not as an assistant message, since untrusted text may
    have shaped it. Its delimiters are new, so the model never saw them. (Some servers also reject messages whose
    roles do not alternate.)
    """
    *earlier, last = messages
    if last.role is not Role.USER:
        return [*messages, compose(Role.USER, *parts)]
    return [*earlier, Message(Role.USER, f"{last.text}\n{_joined(parts)}")]


@dataclass(frozen=True)
class Prompt:
    """A prompt of the registry, with placeholders written {{like_this}}."""

    name: str
    version: str
    text: str

    @property
    def purpose(self) -> str:
        """Return name@version, as the trace and a completion show it."""
        return f"{self.name}@{self.version}"

    @property
    def placeholders(self) -> frozenset[str]:
        """Return the names of its placeholders."""
        return frozenset(_PLACEHOLDER.findall(self.text))

    def fill(self, **values: Trusted) -> Trusted:
        """Return the text with every placeholder replaced once; values are not searched for placeholders.

        Raises ValueError if a value is missing or has no placeholder.
        """
        if values.keys() != self.placeholders:
            wrong = ", ".join(sorted(values.keys() ^ self.placeholders))
            raise ValueError(f"prompt {self.name}: values and placeholders differ in {wrong}")
        return Trusted(_PLACEHOLDER.sub(lambda match: values[match[1]].text, self.text))


@cache
def load_prompt(name: str, *, directory: Path = PROMPTS) -> Prompt:
    """Return the prompt `name`. Raises FileNotFoundError, or ValueError if the file is malformed."""
    return _read(directory / f"{name}.md")


def all_prompts(*, directory: Path = PROMPTS) -> Iterator[Prompt]:
    """Yield every prompt in the directory."""
    yield from (_read(path) for path in sorted(directory.glob("*.md")))


def _joined(parts: Iterable[Part]) -> str:
    return "\n".join(part.text if isinstance(part, Trusted) else _delimited(part) for part in parts)


def _delimited(part: Untrusted) -> str:
    delimiter = secrets.token_hex(8)
    return f"<{part.label} {delimiter}>\n{part.text}\n</{part.label} {delimiter}>"


def _read(path: Path) -> Prompt:
    found = _FILE.match(path.read_text("utf-8"))
    if not found or found[1] != path.stem:
        raise ValueError(
            f"{path}: must begin with ---, name: {path.stem}, version: 1.2.3, ---, then the text"
        )
    return Prompt(found[1], found[2], found[3].strip())
