"""Reads unified diffs and applies them to files below a directory: a diff is applied as a whole or not at all.

The time for both is linear in the size of the diff and of the files that it changes. The library unidiff is not used:
it drops a hunk with the header `@@ ... @@` and refuses one with wrong line counts, as models write them, and a line of
48 kB ("Binary files a and a and ...") took it 17 s.
"""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from orchestrator.models.errors import PatchRejected

MAX_PATCH_CHARACTERS = 200_000
MAX_HUNKS = 500
_NOWHERE = "/dev/null"
_NO_NEWLINE = "\\"
_HEADERS = (
    "diff ",
    "index ",
    "new file mode",
    "deleted file mode",
    "old mode",
    "new mode",
    "similarity index",
)
_REFUSED = ("rename ", "copy ", "Binary files", "GIT binary patch")


@dataclass(frozen=True)
class Hunk:
    """Lines to find in a file, near the 1-based `line`, and the lines that replace them.

    `ends_bare` is whether the new file ends without a newline; None when the diff does not specify it.
    """

    line: int
    before: tuple[str, ...]
    after: tuple[str, ...]
    added: int
    removed: int
    ends_bare: bool | None = None


@dataclass(frozen=True)
class FileChange:
    """The change of one file: `old` is None for a new file, `new` is None for a deleted one."""

    old: str | None
    new: str | None
    hunks: tuple[Hunk, ...]

    @property
    def name(self) -> str:
        """Return the new path, for a deleted file the old one."""
        return self.new or self.old or ""


@dataclass(frozen=True)
class ChangedFile:
    """One file that a diff changed, with the number of lines added and removed."""

    file: str
    added: int
    removed: int


def patch_files(text: str, root: Path) -> list[dict[str, Any]]:
    """Read a diff and apply it below `root`; return each ChangedFile as a dict. Call it through `limited`."""
    return [asdict(applied) for applied in apply_patch(parse_patch(text), root)]


def parse_patch(text: str) -> tuple[FileChange, ...]:
    """Read a unified diff of git or diff. The line counts in hunk headers are ignored: models often get them wrong.

    Raises PatchRejected with the line that can't be read.
    """
    if len(text) > MAX_PATCH_CHARACTERS:
        raise PatchRejected(f"the patch has {len(text)} characters; at most {MAX_PATCH_CHARACTERS} are read")
    lines = _DiffLines(text.replace("\r\n", "\n").rstrip("\n").split("\n"))
    changes, at = list[FileChange](), 0
    while at < len(lines):
        if _is_file_header(lines, at):
            change, at = _read_file(lines, at)
            changes.append(change)
        elif lines[at].startswith(_REFUSED):
            raise PatchRejected(
                f"line {at + 1} of the patch: renames, copies and binary files are not applied"
            )
        elif not lines[at].strip() or lines[at].startswith(_HEADERS):
            at += 1
        else:
            raise PatchRejected(
                f"line {at + 1} of the patch is not part of a unified diff: {lines[at][:80]!r}"
            )
    if not changes:
        raise PatchRejected("the patch changes no file")
    if sum(len(change.hunks) for change in changes) > MAX_HUNKS:
        raise PatchRejected(f"the patch has more than {MAX_HUNKS} hunks")
    return tuple(changes)


def apply_patch(changes: Sequence[FileChange], root: Path) -> list[ChangedFile]:
    """Apply a diff to the files below `root`; raises PatchRejected and writes nothing when a part does not fit.

    A hunk is applied where its lines are found, nearest to its line number when that is more than one place.
    """
    contents: dict[Path, str | None] = {}
    for change in changes:
        source = _inside(root, change.old) if change.old else None
        target = _inside(root, change.new) if change.new else None
        if source is not None and source in contents:
            raise PatchRejected(f"the patch changes {change.name} twice")
        old = _read(source, change) if source is not None else _absent(target, change)
        if source is not None and source != target:
            contents[source] = None
        new = _patched(old, change)
        if target is not None:
            contents[target] = new
    for path, content in contents.items():
        _write(path, content)
    return [_changed_file(change) for change in changes]


class _DiffLines(list[str]):
    """The lines of a diff, with an index of those that are not empty."""

    def __init__(self, lines: Sequence[str]) -> None:
        super().__init__(lines)
        self._filled = [at for at, line in enumerate(lines) if line]

    def filled_from(self, at: int) -> str:
        """Return the first line from `at` on that is not empty, or an empty string."""
        place = bisect_left(self._filled, at)
        return self[self._filled[place]] if place < len(self._filled) else ""


def _is_file_header(lines: Sequence[str], at: int) -> bool:
    return lines[at].startswith("--- ") and at + 1 < len(lines) and lines[at + 1].startswith("+++ ")


def _read_file(lines: _DiffLines, at: int) -> tuple[FileChange, int]:
    old, new = _path(lines[at]), _path(lines[at + 1])
    start, at, hunks = at, at + 2, []
    while at < len(lines) and lines[at].startswith("@@"):
        hunk, at = _read_hunk(lines, at)
        hunks.append(hunk)
    if old is None and new is None:
        raise PatchRejected(f"line {start + 1} of the patch names no file")
    if not hunks:
        raise PatchRejected(f"line {start + 1} of the patch: {new or old} has no hunk")
    return FileChange(old, new, tuple(hunks)), at


def _path(header: str) -> str | None:
    name = header[4:].partition("\t")[0].strip()
    if name == _NOWHERE:
        return None
    return name[2:] if name.startswith(("a/", "b/")) else name


def _read_hunk(lines: _DiffLines, at: int) -> tuple[Hunk, int]:
    start = at
    body = list[tuple[str, str]]()
    at += 1
    while at < len(lines) and _is_hunk_line(lines, at):
        body.append((lines[at][:1] or " ", lines[at][1:]))
        at += 1
    added, removed = (sum(kind == sign for kind, _ in body) for sign in "+-")
    if not added and not removed:
        raise PatchRejected(f"line {start + 1} of the patch: the hunk changes nothing")
    hunk = Hunk(
        line=_first_line(lines[start]),
        before=tuple(text for kind, text in body if kind in " -"),
        after=tuple(text for kind, text in body if kind in " +"),
        added=added,
        removed=removed,
        ends_bare=_ends_bare([kind for kind, _ in body]),
    )
    return hunk, at


def _first_line(header: str) -> int:
    """Return the old file's line from a hunk's header like `@@ -12,3 +12,4 @@`; 1 when it has none."""
    number = header.partition("-")[2].partition(" ")[0].partition(",")[0]
    return int(number) if number.isdecimal() and len(number) < 10 else 1


def _ends_bare(kinds: Sequence[str]) -> bool | None:
    """Return whether a `\\ No newline` mark follows the new text's last line; None without such a mark."""
    marked = [kinds[at - 1] for at, kind in enumerate(kinds) if kind == _NO_NEWLINE and at]
    return any(kind in " +" for kind in marked) if marked else None


def _is_hunk_line(lines: _DiffLines, at: int) -> bool:
    if _is_file_header(lines, at) or lines[at].startswith(("@@", "diff ")):
        return False
    if not lines[at]:
        # editors strip the blank of an empty context line; an empty line between files is not part of the hunk
        rest = lines.filled_from(at)
        return bool(rest) and not rest.startswith(("--- ", "diff ", "index "))
    return lines[at][0] in " +-\\"


def _inside(root: Path, name: str) -> Path:
    parts = PurePosixPath(name).parts
    if ".." in parts or PurePosixPath(name).is_absolute() or "\0" in name or not parts or ".git" in parts:
        raise PatchRejected(f"{name[:80]!r} is not a path inside the attachment")
    path = root / name
    if not path.resolve().is_relative_to(root.resolve()):
        raise PatchRejected(f"{name[:80]!r} leads outside of the attachment")
    return path


def _read(path: Path, change: FileChange) -> str:
    if not path.is_file():
        raise PatchRejected(f"there is no {change.old} to change")
    try:
        return path.read_bytes().decode()
    except UnicodeDecodeError as fault:
        raise PatchRejected(f"{change.old} is not UTF-8 text") from fault


def _absent(path: Path | None, change: FileChange) -> str:
    if path is not None and path.exists():
        raise PatchRejected(f"{change.new} exists already; the patch creates it")
    return ""


def _patched(old: str, change: FileChange) -> str:
    newline = "\r\n" if "\r\n" in old else "\n"
    lines = old.replace("\r\n", "\n").split("\n")
    ends_bare = lines[-1] != ""
    if not ends_bare:
        lines.pop()
    drift = 0
    for number, hunk in enumerate(change.hunks, start=1):
        at = _place_of(hunk, lines, hunk.line - 1 + drift, f"hunk {number} of {change.name}")
        lines[at : at + len(hunk.before)] = hunk.after
        drift += len(hunk.after) - len(hunk.before)
        ends_bare = ends_bare if hunk.ends_bare is None else hunk.ends_bare
    return newline.join(lines) + ("" if ends_bare or not lines else newline)


def _place_of(hunk: Hunk, lines: Sequence[str], expected: int, name: str) -> int:
    if not hunk.before:
        # the header of a hunk that only adds lines has the line before them
        return min(max(expected + 1, 0), len(lines))
    if expected >= 0 and tuple(lines[expected : expected + len(hunk.before)]) == hunk.before:
        return expected
    place = min(_places(hunk.before, lines), key=lambda place: abs(place - expected), default=None)
    if place is None:
        raise PatchRejected(f"{name} does not fit: {_why_not(hunk.before, lines, expected)}")
    return place


def _places(wanted: Sequence[str], lines: Sequence[str]) -> Iterator[int]:
    """Yield the indexes where the wanted lines are, in linear time (Knuth, Morris, Pratt, 1977)."""
    fallback, matched = _fallback(wanted), 0
    for at, line in enumerate(lines):
        while matched and (matched == len(wanted) or line != wanted[matched]):
            matched = fallback[matched - 1]
        matched += line == wanted[matched]
        if matched == len(wanted):
            yield at + 1 - matched


def _fallback(wanted: Sequence[str]) -> list[int]:
    """Return for each prefix of the wanted lines the length of its longest proper border."""
    fallback, matched = [0], 0
    for line in wanted[1:]:
        while matched and line != wanted[matched]:
            matched = fallback[matched - 1]
        matched += line == wanted[matched]
        fallback.append(matched)
    return fallback


def _why_not(wanted: Sequence[str], lines: Sequence[str], expected: int) -> str:
    for offset, line in enumerate(wanted):
        at = expected + offset
        if not 0 <= at < len(lines):
            return f"it needs {line[:120]!r} at line {at + 1}, and the file has {len(lines)} lines"
        if lines[at] != line:
            return f"line {at + 1} is {lines[at][:120]!r}, not {line[:120]!r}"
    return "its lines are nowhere in the file"


def _write(path: Path, content: str | None) -> None:
    if content is None:
        path.unlink()
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode())


def _changed_file(change: FileChange) -> ChangedFile:
    return ChangedFile(
        change.name, sum(hunk.added for hunk in change.hunks), sum(hunk.removed for hunk in change.hunks)
    )
