"""Finds files below a directory, reads and searches their text, and scans text for secrets and personal data."""

import codecs
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from orchestrator import safety
from orchestrator.rules.pattern import compile_pattern
from orchestrator.safety import SafetyFinding
from workers.sandbox.limited import MEBIBYTE, CallLimits, limited

MAX_TEXT_BYTES = 2 * 1024 * 1024
MAX_LINE_CHARACTERS = 500
"""Longer lines that match are cut."""
MAX_CHARACTERS_HERE = 8 * 1024
"""Longer texts are scanned in a child process. Scanning takes at most 5 ms a kB (docs/security.md): this is 40 ms."""
_LIMITS = CallLimits(
    memory_bytes=512 * MEBIBYTE, cpu_seconds=60, wall_seconds=300, answer_bytes=64 * MEBIBYTE
)


@dataclass(frozen=True)
class NotText:
    """Why a file can't be read as text."""

    reason: str


def files_below(root: Path) -> list[tuple[str, Path]]:
    """Return all regular files below `root` with their relative paths, sorted."""
    paths = (path for path in root.rglob("*") if path.is_file() and not path.is_symlink())
    return sorted((path.relative_to(root).as_posix(), path) for path in paths)


def python_files(root: Path) -> list[tuple[str, Path]]:
    """Return the Python files below `root` with their relative paths, sorted."""
    return [(name, path) for name, path in files_below(root) if path.suffix in (".py", ".pyi")]


def is_test_file(name: str) -> bool:
    """Return whether pytest collects a file of this name, or it is a conftest.py."""
    stem = PurePosixPath(name).stem
    return stem.startswith("test_") or stem.endswith("_test") or stem == "conftest"


def read_text(path: Path, *, utf16: bool = True) -> str | NotText:
    """Return a file's text, or why it has none. With `utf16`, a byte order mark selects UTF-16."""
    if path.stat().st_size > MAX_TEXT_BYTES:
        return NotText(f"larger than {MAX_TEXT_BYTES} bytes")
    content = path.read_bytes()
    is_utf16 = utf16 and content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        text = content.decode("utf-16" if is_utf16 else "utf-8-sig")
    except UnicodeDecodeError:
        return NotText("binary" if b"\0" in content else "neither UTF-8 nor UTF-16 with its mark")
    return NotText("binary") if "\0" in text else text


def scan_text(text: str, about: str, *, checkpoint: Callable[[], None]) -> list[SafetyFinding]:
    """Return what is unsafe in a text. `about`, `checkpoint` and the errors are those of `limited`."""
    if len(text) <= MAX_CHARACTERS_HERE:
        return safety.scan(text)
    found = limited(_scan_in_child, about, checkpoint=checkpoint, limits=_LIMITS)(text)
    return [
        SafetyFinding(kind, start, end, score, tuple(evidence)) for kind, start, end, score, evidence in found
    ]


def redact_text(text: str, about: str, *, checkpoint: Callable[[], None]) -> str:
    """Return the text with secrets and personal data replaced; arguments and errors are as for `scan_text`."""
    if len(text) <= MAX_CHARACTERS_HERE:
        return safety.redact(text)
    return limited(_redact_in_child, about, checkpoint=checkpoint, limits=_LIMITS)(text)


def _scan_in_child(text: str) -> Sequence[Sequence[Any]]:
    """Return the members of each finding, as JSON can carry them."""
    return [(found.kind, found.start, found.end, found.score, found.evidence) for found in safety.scan(text)]


def _redact_in_child(text: str) -> str:
    return safety.redact(text)


def matching_lines(
    expression: str, texts: Sequence[tuple[str, str]], limit: int
) -> tuple[list[tuple[str, int, str]], dict[str, int]]:
    """Return (file, line, the line) of the first `limit` matches, and {file: count of all}; for a limited child."""
    pattern = compile_pattern(expression)
    matches: list[tuple[str, int, str]] = []
    counts: Counter[str] = Counter()
    for name, text in texts:
        for number, raw in enumerate(text.split("\n"), start=1):
            line = raw.removesuffix("\r")
            if pattern.search(line) is None:
                continue
            counts[name] += 1
            if len(matches) < limit:
                matches.append((name, number, _shown(line)))
    return matches, dict(counts)


def _shown(line: str) -> str:
    """Return a line without its indentation, verbatim, at most MAX_LINE_CHARACTERS of it."""
    return line.strip()[:MAX_LINE_CHARACTERS] or line
