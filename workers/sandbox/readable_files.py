"""Which files of this machine a tool may read: the system's programs and libraries, and a bare Python.

The bare Python has the standard library, pytest and coverage, and no other installed package. It is a virtual
environment of this process, so that processes which untrusted code starts by sys.executable can import no more.
"""

import atexit
import os
import stat
import sys
import tempfile
import venv
from collections.abc import Iterable
from functools import cache
from importlib.metadata import distribution
from pathlib import Path
from typing import NamedTuple

from workers.sandbox import cleanup

SYSTEM = tuple(
    Path(name)
    for name in ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/etc/ld.so.cache", "/etc/alternatives")
)
DISTRIBUTIONS = ("coverage", "iniconfig", "packaging", "pluggy", "pygments", "pytest")
"""pytest and coverage with everything that they need."""
_MAX_LINKS = 64


class PythonFiles(NamedTuple):
    """The files of the tools' interpreters outside the system's directories.

    `places` are real paths of directories or single files. `links` are the symbolic links on the way to them; a
    link's neighbours are not readable.
    """

    places: tuple[Path, ...]
    links: tuple[Path, ...]


def system() -> tuple[Path, ...]:
    """Return those of the system's directories that exist."""
    return tuple(path for path in SYSTEM if path.exists())


def python() -> PythonFiles:
    """Return the prefixes of the tools' interpreters and of their packages, and nothing above them."""
    bare = bare_python()
    prefixes = (Path(sys.prefix), Path(sys.base_prefix), bare.parent.parent)
    base = getattr(sys, "_base_executable", sys.executable)
    executables = (Path(sys.executable), Path(base), bare)
    links: set[Path] = set()
    places = _topmost(_follow(path, links) for path in prefixes)
    # an interpreter outside its prefix is allowed as a single file
    places = _topmost([*places, *(_follow(path, links) for path in executables)])
    inside = (*SYSTEM, *places)
    return PythonFiles(places, tuple(sorted(link for link in links if not _lies_in(link, inside))))


def bare_python() -> Path:
    """Return the bare interpreter; makes it at the first call, and again when it was removed."""
    made = _made_python()
    if not made.exists():
        _made_python.cache_clear()
        made = _made_python()
    return made


def is_open_to_all(path: Path) -> bool:
    """Return whether an unprivileged user can reach `path`, links followed."""
    real = path.resolve()
    return all(place.stat().st_mode & stat.S_IXOTH for place in (real, *real.parents))


@cache
def _made_python() -> Path:
    place = Path(tempfile.mkdtemp(prefix=cleanup.directory_prefix())).resolve()
    atexit.register(_remove, place, os.getpid())
    venv.EnvBuilder(symlinks=True, with_pip=False).create(place)
    packages = next((place / "lib").glob("python*/site-packages"))
    for name in DISTRIBUTIONS:
        for path in _parts(name):
            (packages / path.name).symlink_to(path)
    # a tool may run as another user
    for path in (place, *place.rglob("*")):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() else 0o644)
    return place / "bin" / "python"


def _parts(name: str) -> list[Path]:
    """Return the packages, modules and metadata of a distribution, without .pth files, which run at Python's start."""
    found = distribution(name)
    names = {file.parts[0] for file in found.files or ()} - {"..", "__pycache__"}
    return [Path(str(found.locate_file(part))).resolve() for part in names if not part.endswith(".pth")]


def _remove(place: Path, owner: int) -> None:
    if os.getpid() == owner:
        cleanup.remove(place)


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
    """Return `paths` without those inside the system's directories or inside another of them."""
    kept: list[Path] = []
    for path in sorted(set(paths)):
        if path != Path("/") and not _lies_in(path, (*SYSTEM, *kept)):
            kept.append(path)
    return tuple(kept)


def _lies_in(path: Path, places: Iterable[Path]) -> bool:
    return any(path.is_relative_to(place) for place in places)
