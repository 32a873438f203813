"""Which files of this machine a tool may read: the system's programs and libraries, and Python's."""

import os
import stat
import sys
from pathlib import Path

from workers.sandbox import interpreter

SYSTEM = tuple(
    Path(name)
    for name in ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/etc/ld.so.cache", "/etc/alternatives")
)
_MOST_LINKS = 16


def python() -> tuple[Path, ...]:
    """Return the directories outside the system's that the interpreters of tools and their packages lie in."""
    prefixes = {Path(sys.prefix), Path(sys.base_prefix), interpreter.prefix()}
    # a virtualenv may be a link to one elsewhere
    places = prefixes | {path.resolve() for path in prefixes}
    # an interpreter's link may pass through a directory that is neither of the two
    link = Path(sys.executable)
    for _ in range(_MOST_LINKS):
        places.add(link.parent.parent)
        if not link.is_symlink():
            break
        link = Path(os.path.normpath(link.parent / link.readlink()))
    outside = [path for path in places if not any(path.is_relative_to(system) for system in SYSTEM)]
    return tuple(sorted(path for path in outside if path != Path("/")))


def system() -> tuple[Path, ...]:
    """Return the system's own directories, as far as they exist."""
    return tuple(path for path in SYSTEM if path.exists())


def is_open_to_all(path: Path) -> bool:
    """Tell whether a user without rights of his own gets to `path`, links followed."""
    real = path.resolve()
    return all(place.stat().st_mode & stat.S_IXOTH for place in (real, *real.parents))
