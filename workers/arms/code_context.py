"""Selects the code that a model gets from an attachment: whole files, those that the task mentions first."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from orchestrator.llm.prompt import Part, Untrusted, trusted
from workers.arms.text_files import files_below, read_text

DEFAULT_BYTES = 4_000
_SUFFIXES = frozenset({".py", ".pyi", ".toml", ".cfg", ".ini", ".md", ".txt"})


@dataclass(frozen=True)
class CodeContext:
    """Files with their texts, and the names of files for which there was no room."""

    files: tuple[tuple[str, str], ...]
    left_out: tuple[str, ...]

    def lines(self) -> dict[str, list[str]]:
        """Return the lines of each file by its name."""
        return {name: text.split("\n") for name, text in self.files}

    def parts(self) -> list[Part]:
        """Return the files as parts of a message: for each its path, then its text."""
        shown: list[Part] = []
        for name, text in self.files:
            shown += [Untrusted("path", name), Untrusted("file", text)]
        if self.left_out:
            shown += [
                trusted("Not shown, for there is no room:"),
                Untrusted("paths", "\n".join(self.left_out[:50])),
            ]
        return shown


def code_context(
    root: Path, *, paths: Sequence[str] = (), hints: Iterable[str] = (), room: int
) -> CodeContext:
    """Return code below `root`, at most `room` bytes: only `paths` if given; first the files that `hints` mention."""
    texts = {
        name: text
        for name, path in files_below(root)
        if (not paths or any(Path(name).is_relative_to(wanted) for wanted in paths))
        and path.suffix in _SUFFIXES
        and isinstance(text := read_text(path), str)
    }
    mentioned = " ".join(hints)
    ordered = sorted(texts, key=lambda name: (name not in mentioned, Path(name).suffix != ".py", name))
    kept, left_out = [], []
    for name in ordered:
        size = len(texts[name].encode())
        if size <= room:
            room -= size
            kept.append((name, texts[name]))
        else:
            left_out.append(name)
    return CodeContext(tuple(kept), tuple(left_out))
