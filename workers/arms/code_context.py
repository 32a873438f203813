"""Selects the code that a model gets from an attachment: whole files, or the parts that the task is about and a map."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from orchestrator.llm.prompt import Part, Untrusted, trusted
from workers.arms.excerpts import TextPart, choose, divide, joined, rankings, words_in
from workers.arms.text_files import files_below, read_text

MAX_BYTES = 16 * 1024 * 1024
"""Code of more bytes than this is not read."""
MAP_SHARE = 8
"""The map of what is not shown gets the room divided by this."""
_SUFFIXES = frozenset({".py", ".pyi", ".toml", ".cfg", ".ini", ".md", ".txt"})
_PARTS_OF_CODE = re.compile(r"^(?:    )?(?:@|class |def |async def )", re.MULTILINE)
_PARTS_OF_TEXT = re.compile(r"^(?:#|\[)", re.MULTILINE)
_TITLES_OF_CODE = re.compile(r"^(?:    )?((?:class|def|async def) [^\n]{1,100})", re.MULTILINE)
_TITLES_OF_TEXT = re.compile(r"^(#{1,6} [^\n]{1,100}|\[[^\n]{1,100})", re.MULTILINE)


@dataclass(frozen=True)
class CodeContext:
    """The parts of files that are shown, their files' whole texts, and what is not shown.

    `left_out` has a line for each gap, like `m.py: lines 10 to 20`, or `m.py` for a whole file. `titles` are the
    functions, classes and headings in the gaps, with their lines.
    """

    shown: tuple[TextPart, ...]
    texts: Mapping[str, str] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()
    titles: tuple[str, ...] = ()

    def lines(self) -> dict[str, list[str]]:
        """Return all lines of each file of which a part is shown, by its name."""
        return {part.name: self.texts[part.name].split("\n") for part in self.shown}

    def parts(self) -> list[Part]:
        """Return what is shown as parts of a message: for each part its file's path and lines, then its text."""
        said: list[Part] = []
        for part in self.shown:
            said.append(Untrusted("path", part.name))
            text = self.texts.get(part.name, part.text)
            if len(part.text) < len(text):
                first, last = _lines(text, part.begin, part.end)
                said.append(trusted("Lines {} to {} of {}:", first, last, text.count("\n") + 1))
            said.append(Untrusted("file", part.text))
        if self.left_out:
            said += [
                trusted("Not shown, for there is no room:"),
                Untrusted("paths", "\n".join(self.left_out[:50])),
            ]
        if self.titles:
            said += [trusted("What is there, with its lines:"), Untrusted("map", "\n".join(self.titles))]
        return said


def code_context(
    root: Path, *, paths: Sequence[str] = (), hints: Iterable[str] = (), room: int
) -> CodeContext:
    """Return code below `root`, at most `room` bytes: only `paths` if given.

    What does not fit as a whole is shown by parts (functions, classes, sections): first the files that `hints` mention,
    and the parts with most of their words.
    """
    texts = _texts(root, paths)
    hints = list(hints)
    mentioned = " ".join(hints)
    ordered = sorted(texts, key=lambda name: (name not in mentioned, Path(name).suffix != ".py", name))
    parts = [
        part
        for name in ordered
        for part in divide(name, texts[name], starts=_PARTS_OF_CODE if _is_python(name) else _PARTS_OF_TEXT)
    ]
    if sum(part.size_bytes for part in parts) <= room:
        return CodeContext(tuple(joined(parts)), texts)
    preferred = _preferred(parts, words_in(hints), mentioned)
    shown = joined(choose(parts, [preferred], room - room // MAP_SHARE))
    gaps = _gaps(shown, texts, ordered)
    return CodeContext(
        tuple(shown),
        texts,
        tuple(_place(gap, texts[gap.name]) for gap in gaps),
        tuple(_titles(gaps, texts, room // MAP_SHARE)),
    )


def _texts(root: Path, paths: Sequence[str]) -> dict[str, str]:
    texts: dict[str, str] = {}
    left = MAX_BYTES
    for name, path in files_below(root):
        if paths and not any(Path(name).is_relative_to(wanted) for wanted in paths):
            continue
        if path.suffix in _SUFFIXES and isinstance(text := read_text(path), str) and len(text) <= left:
            texts[name] = text
            left -= len(text)
    return texts


def _is_python(name: str) -> bool:
    return name.endswith((".py", ".pyi"))


def _preferred(parts: Sequence[TextPart], words: Sequence[str], mentioned: str) -> list[int]:
    """Return the numbers of the parts: those of mentioned files first, then those with most of the words."""
    (order,) = rankings(parts, [words])
    place = {number: rank for rank, number in enumerate(order)}
    return sorted(place, key=lambda number: (parts[number].name not in mentioned, place[number]))


def _gaps(shown: Sequence[TextPart], texts: Mapping[str, str], names: Sequence[str]) -> list[TextPart]:
    """Return the parts of the texts that are not shown."""
    gaps = []
    for name in names:
        text, at = texts[name], 0
        for part in [*(part for part in shown if part.name == name), TextPart(name, "", len(text))]:
            if part.begin > at:
                gaps.append(TextPart(name, text[at : part.begin], at))
            at = part.end
    return gaps


def _lines(text: str, begin: int, end: int) -> tuple[int, int]:
    """Return the 1-based first and last line of a part."""
    first = text.count("\n", 0, begin) + 1
    return first, first + text[begin:end].removesuffix("\n").count("\n")


def _place(gap: TextPart, text: str) -> str:
    if len(gap.text) == len(text):
        return gap.name
    first, last = _lines(text, gap.begin, gap.end)
    return f"{gap.name}: lines {first} to {last}"


def _titles(gaps: Iterable[TextPart], texts: Mapping[str, str], room: int) -> Iterable[str]:
    for gap in gaps:
        line, at = _lines(texts[gap.name], gap.begin, gap.end)[0], 0
        pattern = _TITLES_OF_CODE if _is_python(gap.name) else _TITLES_OF_TEXT
        for found in pattern.finditer(gap.text):
            line, at = line + gap.text.count("\n", at, found.start()), found.start()
            title = f"{gap.name}:{line} {found[1]}"
            room -= len(title.encode("utf-8", "surrogatepass")) + 1
            if room < 0:
                return
            yield title
