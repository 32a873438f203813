"""Reads the prompts that lie in registry/prompts: each a file with a name, a version and blanks to fill in."""

import re
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from orchestrator.arm_capability import REGISTRY

PROMPTS = REGISTRY / "prompts"
_FILE = re.compile(r"\A---\nname: ([a-z][a-z0-9_.]*)\nversion: (\d+\.\d+\.\d+)\n---\n(.+)\Z", re.DOTALL)
_BLANK = re.compile(r"\{\{([a-z][a-z0-9_]*)\}\}")


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

    def fill(self, **values: str) -> str:
        """Return the text with every blank filled; what is filled in is never looked at for blanks again.

        Raises ValueError when a value is missing or has no blank.
        """
        if values.keys() != self.blanks:
            wrong = ", ".join(sorted(values.keys() ^ self.blanks))
            raise ValueError(f"prompt {self.name}: values and blanks differ in {wrong}")
        return _BLANK.sub(lambda blank: values[blank[1]], self.text)


@cache
def load_prompt(name: str, *, directory: Path = PROMPTS) -> Prompt:
    """Return the prompt `name`. Raises FileNotFoundError, or ValueError when the file is not as it should be."""
    return _read(directory / f"{name}.md")


def all_prompts(*, directory: Path = PROMPTS) -> Iterator[Prompt]:
    """Yield every prompt there is."""
    yield from (_read(path) for path in sorted(directory.glob("*.md")))


def as_data(label: str, text: str, *, nonce: str | None = None) -> str:
    """Return untrusted text between marks that it can't know, so that it can't pretend to end there."""
    mark = nonce or secrets.token_hex(8)
    return f"<{label} {mark}>\n{text}\n</{label} {mark}>"


def _read(path: Path) -> Prompt:
    found = _FILE.match(path.read_text("utf-8"))
    if not found or found[1] != path.stem:
        raise ValueError(
            f"{path}: must begin with ---, name: {path.stem}, version: 1.2.3, ---, then the text"
        )
    return Prompt(found[1], found[2], found[3].strip())
