"""Tests a sandbox from inside before it is used: a script in it tries to escape, and to read canary files."""

import json
import os
import pwd
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from orchestrator.models.errors import OctoError, ToolTimeout
from orchestrator.settings_file import DEFAULT_HOME, STACK_FILE, VARIABLE
from workers.sandbox.backend import Backend, ToolLimits
from workers.sandbox.run import run

_SCRIPT = Path(__file__).with_name("inside") / "escape_probe.py"
_SECONDS = 20.0
_MUST_SUCCEED = "write its scratch directory"
_MAX_FILES = 64


def failure(backend: Backend) -> str | None:
    """Return why tools must not run in this sandbox on this machine, None when it passes the test."""
    try:
        could = _attempts(backend)
    except (OctoError, OSError, ValueError) as error:
        return str(error)
    if not could.get(_MUST_SUCCEED):
        return "a tool in it can't write its scratch directory"
    broken = [name for name, done in could.items() if done and name != _MUST_SUCCEED]
    return f"a tool in it can {', '.join(broken)}" if broken else None


def _attempts(backend: Backend) -> dict[str, bool]:
    """Return what the script tried in the sandbox, and whether it succeeded."""
    give_up = time.monotonic() + _SECONDS

    def checkpoint() -> None:
        if time.monotonic() > give_up:
            raise ToolTimeout(f"the probe did not end within {_SECONDS:g} s")

    with ExitStack() as kept:
        place = Path(kept.enter_context(tempfile.TemporaryDirectory(prefix="octollm-probe-")))
        listener = kept.enter_context(_listener())
        limits = ToolLimits()
        other_tool = kept.enter_context(backend.cell(_directory(place, "other"), limits))
        withheld = kept.enter_context(_canaries([place, place / "other", other_tool.scratch]))
        inputs = _directory(place, "work")
        shutil.copy(_SCRIPT, inputs)
        cell = kept.enter_context(backend.cell(inputs, limits))
        orders = {
            "scratch": str(cell.scratch),
            "port": listener.getsockname()[1],
            "worker": os.getpid(),
            "beside": str(place / "probe"),
            "temporary": [tempfile.gettempdir(), place.name],
            "withheld": withheld,
        }
        argv = [sys.executable, "-I", "-S", str(cell.inputs / _SCRIPT.name), json.dumps(orders)]
        finished = run(cell, argv, environment={}, limits=limits, checkpoint=checkpoint)
    if finished.exit_code != 0:
        stderr = finished.stderr.decode("utf-8", "replace").strip()[-300:]
        raise ValueError(f"the probe ended with exit code {finished.exit_code}: {stderr}")
    could: dict[str, bool] = json.loads(finished.stdout)
    return could


def _directory(place: Path, name: str) -> Path:
    made = place / name
    made.mkdir()
    return made


def _listener() -> socket.socket:
    return socket.create_server(("127.0.0.1", 0))


@contextmanager
def _canaries(of_another_tool: Iterable[Path]) -> Iterator[Mapping[str, list[str]]]:
    """Give files that must be unreadable, by what a tool that reads one would have done.

    A canary file is made in the home of the worker's user, in the state directory and in each directory of another
    tool, where this process may write. Private files that exist in the first two are listed as well.
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
            "read what another tool works on": _made(of_another_tool, kept),
        }


def _own_home() -> Path:
    try:
        return Path(pwd.getpwuid(os.geteuid()).pw_dir)
    except KeyError:
        return Path("/")


def _existing(directories: Iterable[Path]) -> list[Path]:
    # os.path.isdir does not raise for a directory that this user may not reach; Path.is_dir does
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
            # readable by its mode, so that only the sandbox can keep a tool out
            os.fchmod(descriptor, 0o644)
        made.append(name)
    return made


def _own_files(directories: Iterable[Path]) -> list[str]:
    """Return files directly in `directories` that belong to this process' user."""
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
        # it was removed meanwhile: another worker that starts removes its own canary
        return False
