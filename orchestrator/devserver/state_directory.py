"""Finds the state directory of a stack, so that client commands work from any directory."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from orchestrator.settings_file import DEFAULT_HOME, STACK_FILE

LOCK_FILE = "up.lock"


class StateDirectory(NamedTuple):
    """A state directory; `origin` says how it was found, or where no stack was found."""

    path: Path
    origin: str


def new_home() -> Path:
    """Return where a new stack keeps its state: OCTOLLM_HOME, else .octollm in the working directory."""
    return Path(os.environ.get("OCTOLLM_HOME") or DEFAULT_HOME)


def find() -> StateDirectory:
    """Return OCTOLLM_HOME, else the nearest .octollm upwards or the last `octollm up`'s that contains a stack.

    A running stack is preferred. Directories of other users are ignored: their content decides where tasks and
    files are sent.
    """
    if os.environ.get("OCTOLLM_HOME"):
        path = new_home()
        has_stack = (path / STACK_FILE).is_file()
        return StateDirectory(
            path, "OCTOLLM_HOME" if has_stack else f"no stack was found in OCTOLLM_HOME, {path}"
        )
    found = [home for home in _candidates() if _is_ours(home.path)]
    running = [home for home in found if is_running(home.path)]
    if running or found:
        return (running or found)[0]
    searched = f"no stack was found in {DEFAULT_HOME} of {Path.cwd()} or above, nor in {_record()}"
    return StateDirectory(new_home(), searched)


def remember(home: Path) -> None:
    """Record for this user that a stack was started in `home`."""
    record = _record()
    # the record is optional: a read-only home must not prevent a start
    with contextlib.suppress(OSError):
        record.parent.mkdir(parents=True, exist_ok=True)
        record.write_text(f"{home.resolve()}\n", encoding="utf-8")


def is_running(home: Path) -> bool:
    """Return whether the process whose id is in the lock file of `home` is alive."""
    try:
        os.kill(int((home / LOCK_FILE).read_text(encoding="utf-8")), 0)
    except PermissionError:
        return True
    except (OSError, ValueError, OverflowError):
        return False
    return True


def _candidates() -> Iterator[StateDirectory]:
    here = Path.cwd()
    for directory in (here, *here.parents):
        if (directory / DEFAULT_HOME / STACK_FILE).is_file():
            yield StateDirectory(directory / DEFAULT_HOME, f"{directory / DEFAULT_HOME}")
            break
    try:
        last = Path(_record().read_text(encoding="utf-8").strip())
    except (OSError, UnicodeDecodeError):
        return
    if (last / STACK_FILE).is_file():
        yield StateDirectory(last, f"{last}, where `octollm up` was last started")


def _is_ours(home: Path) -> bool:
    try:
        return (home / STACK_FILE).stat().st_uid == os.geteuid()
    except OSError:
        return False


def _record() -> Path:
    state = os.environ.get("XDG_STATE_HOME") or Path("~/.local/state").expanduser()
    return Path(state) / "octollm" / "last-up"
