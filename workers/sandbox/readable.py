"""Which files of this machine a tool may read: the system's programs and libraries, and Python's."""

import os
import stat
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from workers.sandbox import interpreter

SYSTEM = tuple(
    Path(name)
    for name in ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/etc/ld.so.cache", "/etc/alternatives")
)
_MAX_LINKS = 64


class Python(NamedTuple):
    """What belongs to the interpreters of tools outside the system's directories.

    `places` are real paths: directories, or single files. `links` are the symbolic links on the way to them; what
    lies beside a link does not belong to Python.
    """

    places: tuple[Path, ...]
    links: tuple[Path, ...]


def python() -> Python:
    """Return where the interpreters of tools and their packages lie: their prefixes, and nothing above those."""
    prefixes = (Path(sys.prefix), Path(sys.base_prefix), interpreter.prefix())
    base = getattr(sys, "_base_executable", sys.executable)
    executables = (Path(sys.executable), Path(base), interpreter.bare_python())
    links: set[Path] = set()
    places = _topmost(_follow(path, links) for path in prefixes)
    # an interpreter that lies outside its prefix is allowed as a single file
    places = _topmost([*places, *(_follow(path, links) for path in executables)])
    inside = (*SYSTEM, *places)
    return Python(places, tuple(sorted(link for link in links if not _lies_in(link, inside))))


def system() -> tuple[Path, ...]:
    """Return the system's own directories, as far as they exist."""
    return tuple(path for path in SYSTEM if path.exists())


def is_open_to_all(path: Path) -> bool:
    """Tell whether a user without rights of his own gets to `path`, links followed."""
    real = path.resolve()
    return all(place.stat().st_mode & stat.S_IXOTH for place in (real, *real.parents))


def _follow(path: Path, links: set[Path]) -> Path:
    """Return the real path of `path`, and add each symbolic link on the way to `links`."""
    pending = list(reversed(Path(os.path.abspath(path)).parts[1:]))
    real = Path("/")
    for _ in range(_MAX_LINKS * 64):
        if not pending:
            return real
        part = pending.pop()
        step = real.parent if part == ".." else real / part
        if not step.is_symlink():
            real = step
            continue
        links.add(step)
        target = step.readlink()
        real = Path("/") if target.is_absolute() else real
        pending += reversed([part for part in target.parts if part != "/"])
    raise OSError(f"{path} passes through too many symbolic links")


def _topmost(paths: Iterable[Path]) -> tuple[Path, ...]:
    """Return `paths` without those that lie in the system's directories or in another of them."""
    kept: list[Path] = []
    for path in sorted(set(paths)):
        if path != Path("/") and not _lies_in(path, (*SYSTEM, *kept)):
            kept.append(path)
    return tuple(kept)


def _lies_in(path: Path, places: Iterable[Path]) -> bool:
    return any(path.is_relative_to(place) for place in places)
