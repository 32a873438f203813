"""The files that a step leaves: those that a tool wrote into its directory of output, and archives of changed code.

A tool finds the directory in the variable OCTOLLM_OUT. Inside the sandbox, keep_files.py writes the files to the pipe
of the report; what it says is checked here, because the tool could have written it.
"""

import json
import mimetypes
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any, Final

from orchestrator.models.errors import OutputTooLarge
from orchestrator.models.produced_file import ProducedFile
from orchestrator.safety.archive import pack
from workers.arms.base import Assignment
from workers.arms.tools import Command, ToolPaths, run_tool
from workers.sandbox.backend import MEBIBYTE
from workers.sandbox.readable_files import bare_python
from workers.sandbox.run import ToolResult
from workers.sandbox.selection import Sandbox

OUT: Final = "OCTOLLM_OUT"
"""The variable with the directory whose files are kept."""
PACKAGE: Final = "package.tar.gz"
"""The name of the archive of changed code."""
MAX_FILES: Final = 50
MAX_FILE_BYTES: Final = 16 * MEBIBYTE
MAX_BYTES: Final = 32 * MEBIBYTE
_MAX_HEAD_BYTES = 256 * 1024
_MAX_NAME_BYTES = 200
_KEEP_FILES = Path(__file__).parents[1] / "sandbox" / "inside" / "keep_files.py"


@dataclass(frozen=True)
class LeftFile:
    """A file that a tool left; `name` is one part of a path, of printable characters."""

    name: str
    content: bytes


@dataclass(frozen=True)
class LeftFiles:
    """The files that a tool left, with different names; `left_out` counts those that are not kept."""

    files: tuple[LeftFile, ...] = ()
    left_out: int = 0

    def warnings(self) -> list[str]:
        """Return a warning about the files that are not kept."""
        if not self.left_out:
            return []
        return [
            f"{self.left_out} files in ${OUT} are not kept: at most {MAX_FILES} regular files are, of "
            f"{MAX_FILE_BYTES // MEBIBYTE} MiB each and {MAX_BYTES // MEBIBYTE} MiB in all, and no links"
        ]

    def save(self, assignment: Assignment) -> list[dict[str, Any]]:
        """Store the files; return them as an output names them. Raises OutputTooLarge when the storage is full."""
        return [save_file(assignment, file.name, file.content) for file in self.files]

    def save_beside(self, assignment: Assignment) -> tuple[list[dict[str, Any]], list[str]]:
        """Do as `save`, for files that are not what the step is for: the first that can't be stored is a warning."""
        stored: list[dict[str, Any]] = []
        for file in self.files:
            try:
                stored.append(save_file(assignment, file.name, file.content))
            except OutputTooLarge as error:
                left = len(self.files) - len(stored)
                return stored, [f"{left} files in ${OUT} are not kept: {error.message}"]
        return stored, []


def save_file(assignment: Assignment, name: str, content: bytes) -> dict[str, Any]:
    """Store a file; return it as an output names it: {name, artifact_id, media_type, size_bytes}."""
    media_type = mimetypes.guess_type(name)[0] or "application/octet-stream"
    if name.endswith(".tar.gz"):
        media_type = "application/gzip"
    sha256 = assignment.save_file(name, content, media_type)
    return ProducedFile(name, sha256, media_type, len(content)).to_record()


def save_beside(assignment: Assignment, name: str, content: bytes) -> tuple[dict[str, Any] | None, list[str]]:
    """Store a file whose content stands in the output, too; return it as `save_file`, or None and a warning.

    A result must not be lost because the tenant's storage is full.
    """
    try:
        return save_file(assignment, name, content), []
    except OutputTooLarge as error:
        return None, [f"{name} is not kept as a file: {error.message}"]


def packed(root: Path) -> bytes:
    """Return the code in a workspace as an archive that is unpacked to the same paths; equal code gives equal bytes."""
    # what is unpacked leaves out a single outer directory, unless that is a package itself
    below = "" if (root / "__init__.py").exists() else PACKAGE.partition(".")[0]
    return pack(root, below=below, leaves_out=frozenset())


def run_keeping_files(
    sandbox: Sandbox,
    root: Path,
    command: Callable[[ToolPaths], Command],
    *,
    assignment: Assignment,
    environment: Path | None = None,
) -> tuple[ToolResult, ToolPaths, LeftFiles]:
    """Do as `run_tool` does, and return the files that the tool left in its directory of output, too."""

    def keeping(places: ToolPaths) -> Command:
        own, folder = places.scratch / "octollm-report", places.scratch / "octollm-out"
        made = command(replace(places, report=own))
        bounds = f"{MAX_FILES},{MAX_FILE_BYTES},{MAX_BYTES},{sandbox.limits.report_bytes}"
        # isolated: modules of the attachment, which PYTHONPATH names, must not stand in for those of the script
        keeper = (str(bare_python()), "-I", "-S", "-B", "-c", _KEEP_FILES.read_text("utf-8"))
        return replace(
            made,
            argv=(*keeper, str(places.report), str(folder), bounds, str(own), *made.argv),
            environment={**made.environment, OUT: str(folder)},
            report_bytes=_MAX_HEAD_BYTES + sandbox.limits.report_bytes + MAX_BYTES,
        )

    finished, places = run_tool(sandbox, root, keeping, assignment=assignment, environment=environment)
    report, left = read_left(finished.report)
    return replace(finished, report=report), places, left


def read_left(written: bytes) -> tuple[bytes, LeftFiles]:
    """Return the tool's own report, and the files that it left, as keep_files.py writes them.

    What is malformed, too much or incomplete is left out.
    """
    end = written.find(b"\n", 0, _MAX_HEAD_BYTES)
    try:
        head: Any = json.loads(written[:end]) if end > 0 else None
        own, listed, left_out = int(head["own"]), list(head["files"]), int(head["left_out"])
        sizes = [int(size) for _, size in listed]
        names = [str(name) for name, _ in listed]
    except (ValueError, TypeError, KeyError, RecursionError, OverflowError):
        return b"", LeftFiles()
    if min([own, left_out, *sizes]) < 0:
        return b"", LeftFiles()
    start = end + 1 + own
    kept: list[LeftFile] = []
    taken = set[str]()
    for name, size in zip(names, sizes, strict=True):
        is_whole = start + size <= len(written) and size <= MAX_FILE_BYTES
        if not is_whole or len(kept) == MAX_FILES:
            left_out += 1
        else:
            plain = _free_name(plain_path(name), taken)
            taken.add(plain)
            kept.append(LeftFile(plain, written[start : start + size]))
        start += size
    return written[end + 1 : end + 1 + own], LeftFiles(tuple(kept), left_out)


def plain_path(path: str) -> str:
    """Return a relative path as one printable name: its parts are joined by `-`, and it begins with no dot."""
    parts = [part for part in PurePosixPath(path.replace("\\", "/")).parts if part not in ("/", "..")]
    shown = "".join(one if one.isprintable() else "_" for one in "-".join(parts)[:_MAX_NAME_BYTES])
    cut = shown.encode("utf-8", "replace")[:_MAX_NAME_BYTES].decode("utf-8", "ignore")
    return cut.lstrip(".-") or "file"


def _free_name(name: str, taken: set[str]) -> str:
    """Return the name, with a number if it is taken."""
    stem, dot, suffix = name.partition(".")
    number, free = 1, name
    while free in taken:
        number += 1
        free = f"{stem}-{number}{dot}{suffix}"
    return free
