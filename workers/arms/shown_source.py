"""What a model is shown of an attachment's code: whole files, those that are spoken of first, as many as have room."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from orchestrator.llm.prompt import Part, Untrusted, trusted
from workers.arms.file_tree import files_below, read_text

DEFAULT_BYTES = 4_000
_SUFFIXES = frozenset({".py", ".pyi", ".toml", ".cfg", ".ini", ".md", ".txt"})


@dataclass(frozen=True)
class ShownSource:
    """Files with their texts, and the names of those for which there was no room."""

    files: tuple[tuple[str, str], ...]
    left_out: tuple[str, ...]

    def lines(self) -> dict[str, list[str]]:
        """Return the lines of each file."""
        return {name: text.split("\n") for name, text in self.files}

    def parts(self) -> list[Part]:
        """Return the files as parts of a message: of each its path, then its text."""
        shown: list[Part] = []
        for name, text in self.files:
            shown += [Untrusted("path", name), Untrusted("file", text)]
        if self.left_out:
            shown += [
                trusted("Not shown, for there is no room:"),
                Untrusted("paths", "\n".join(self.left_out[:50])),
            ]
        return shown


def shown_source(
    root: Path, *, paths: Sequence[str] = (), hints: Iterable[str] = (), room: int
) -> ShownSource:
    """Return code below `root`: `paths` alone where some are named, else files that `hints` name, then the rest."""
    texts = {
        name: text
        for name, path in files_below(root)
        if (not paths or any(Path(name).is_relative_to(wanted) for wanted in paths))
        and path.suffix in _SUFFIXES
        and isinstance(text := read_text(path), str)
    }
    spoken = " ".join(hints)
    ordered = sorted(texts, key=lambda name: (name not in spoken, Path(name).suffix != ".py", name))
    kept, left_out = [], []
    for name in ordered:
        size = len(texts[name].encode())
        if size <= room:
            room -= size
            kept.append((name, texts[name]))
        else:
            left_out.append(name)
    return ShownSource(tuple(kept), tuple(left_out))
