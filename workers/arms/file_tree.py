"""The files below a directory, and the texts that they hold."""

import codecs
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

MAX_TEXT_BYTES = 2 * 1024 * 1024


def files_below(root: Path) -> list[tuple[str, Path]]:
    """Return all regular files below `root` with their relative paths, sorted."""
    paths = (path for path in root.rglob("*") if path.is_file() and not path.is_symlink())
    return sorted((path.relative_to(root).as_posix(), path) for path in paths)


def python_files(root: Path) -> list[tuple[str, Path]]:
    """Return the Python files below `root` with their relative paths, sorted."""
    return [(name, path) for name, path in files_below(root) if path.suffix in (".py", ".pyi")]


def is_test_file(name: str) -> bool:
    """Tell whether a file is one that pytest collects, or its conftest.py."""
    stem = PurePosixPath(name).stem
    return stem.startswith("test_") or stem.endswith("_test") or stem == "conftest"


@dataclass(frozen=True)
class NotText:
    """Why a file has no text for us."""

    reason: str


def read_text(path: Path, *, utf16: bool = True) -> str | NotText:
    """Return a file's text, or why it has none; UTF-16, where it is taken, is known by its byte order mark."""
    if path.stat().st_size > MAX_TEXT_BYTES:
        return NotText(f"larger than {MAX_TEXT_BYTES} bytes")
    content = path.read_bytes()
    is_utf16 = utf16 and content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        text = content.decode("utf-16" if is_utf16 else "utf-8-sig")
    except UnicodeDecodeError:
        return NotText("binary" if b"\0" in content else "neither UTF-8 nor UTF-16 with its mark")
    return NotText("binary") if "\0" in text else text
