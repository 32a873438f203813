"""Names files that no tool may read, and makes some: a sandbox in which one can be read is not used."""

import os
import pwd
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from orchestrator.settings_file import DEFAULT_HOME, STACK_FILE, VARIABLE

_MAX_FILES = 64


@contextmanager
def laid_out(neighbour: Iterable[Path]) -> Iterator[Mapping[str, list[str]]]:
    """Give files that must be unreadable, by what a tool would do if it read one.

    One is made in the home of the worker's user, in the state directory and in each directory of `neighbour` (those
    of another tool), where this process may write; private files that lie in the first two are named as well.
    """
    homes = _existing([Path(os.environ.get("HOME") or "/"), _own_home()])
    state = _existing([Path(os.environ.get("OCTOLLM_HOME") or DEFAULT_HOME)])
    with ExitStack() as kept:
        yield {
            "read the home directory of the worker's user": [
                *_made(homes, kept),
                *_own_files([*homes, *(home / ".ssh" for home in homes)]),
            ],
            "read OctoLLM's state directory": [
                *_made(state, kept),
                *(str(place / STACK_FILE) for place in state),
            ],
            "read the settings file": [str(path) for path in _settings_files()],
            "read the passwords of this machine's users": ["/etc/shadow", "/etc/gshadow"],
            "read what another tool works on": _made(neighbour, kept),
        }


def _own_home() -> Path:
    try:
        return Path(pwd.getpwuid(os.geteuid()).pw_dir)
    except KeyError:
        return Path("/")


def _existing(directories: Iterable[Path]) -> list[Path]:
    # unlike Path.is_dir it does not raise for one that this user may not reach
    found = {path.resolve() for path in directories if os.path.isdir(path)}
    return sorted(found - {Path("/")})


def _settings_files() -> list[Path]:
    named = os.environ.get(VARIABLE) or ".env"
    return [path for path in (Path(named).absolute(), Path(".env").absolute()) if os.path.isfile(path)]


def _made(directories: Iterable[Path], kept: ExitStack) -> list[str]:
    """Make a file in each directory that this process can write; `kept` removes it."""
    made = []
    for directory in directories:
        try:
            descriptor, name = tempfile.mkstemp(dir=directory, prefix=".octollm-canary-")
        except OSError:
            continue
        kept.callback(Path(name).unlink, missing_ok=True)
        with open(descriptor, "wb") as file:
            file.write(b"canary")
            # its own mode must not be what keeps a tool out
            os.fchmod(descriptor, 0o644)
        made.append(name)
    return made


def _own_files(directories: Iterable[Path]) -> list[str]:
    """Return files that lie directly in `directories` and belong to this process' user: not those of a system's."""
    found: list[str] = []
    for directory in directories:
        try:
            entries = sorted(os.scandir(directory), key=lambda entry: entry.name)
        except OSError:
            continue
        found += [entry.path for entry in entries if _is_own_file(entry)]
    return found[:_MAX_FILES]


def _is_own_file(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_file() and entry.stat().st_uid == os.geteuid()
    except OSError:
        # gone meanwhile: another worker that starts takes its own canary away
        return False
