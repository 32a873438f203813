"""The Python that code of others runs with: its standard library, pytest and coverage, nothing else that is installed.

It is a virtual environment of this process, so that processes which such code starts with sys.executable are no
richer. What OctoLLM itself stands on can't be imported in it.
"""

import atexit
import os
import tempfile
import venv
from functools import cache
from importlib.metadata import distribution
from pathlib import Path

from workers.sandbox import orphans
from workers.sandbox.scratch import remove

DISTRIBUTIONS = ("coverage", "iniconfig", "packaging", "pluggy", "pygments", "pytest")
"""pytest and coverage with all that they need."""


def bare_python() -> Path:
    """Return the interpreter; it is made at the first call, and again when somebody removed it."""
    python = _made()
    if not python.exists():
        _made.cache_clear()
        python = _made()
    return python


def prefix() -> Path:
    """Return the directory that the interpreter's own files lie in."""
    return bare_python().parent.parent


@cache
def _made() -> Path:
    place = Path(tempfile.mkdtemp(prefix=orphans.directory_prefix())).resolve()
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
    """Return the packages, modules and metadata of a distribution, without what changes Python's start."""
    found = distribution(name)
    names = {file.parts[0] for file in found.files or ()} - {"..", "__pycache__"}
    return [Path(str(found.locate_file(part))).resolve() for part in names if not part.endswith(".pth")]


def _remove(place: Path, owner: int) -> None:
    if os.getpid() == owner:
        remove(place)
