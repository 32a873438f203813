"""Finds the state directory of the stack that a command is about: the running one, wherever one stands."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from orchestrator.settings_file import DEFAULT_HOME, STACK_FILE

LOCK_FILE = "up.lock"


class Home(NamedTuple):
    """A state directory, and how it was found or what was looked at in vain."""

    path: Path
    told: str


def to_start_in() -> Path:
    """Return where a stack keeps its state: OCTOLLM_HOME, else .octollm in the working directory."""
    return Path(os.environ.get("OCTOLLM_HOME") or DEFAULT_HOME)


def find() -> Home:
    """Return OCTOLLM_HOME; else the nearest .octollm upwards, or the last `octollm up`'s, that holds a stack.

    A stack that runs goes before one that does not. Directories of other users are passed over: what stands there
    says where tasks and files are sent.
    """
    if os.environ.get("OCTOLLM_HOME"):
        path = to_start_in()
        has_stack = (path / STACK_FILE).is_file()
        return Home(path, "OCTOLLM_HOME" if has_stack else f"no stack was found in OCTOLLM_HOME, {path}")
    found = [home for home in _candidates() if _is_ours(home.path)]
    running = [home for home in found if is_running(home.path)]
    if running or found:
        return (running or found)[0]
    looked_at = f"no stack was found in {DEFAULT_HOME} of {Path.cwd()} or above, nor in {_record()}"
    return Home(to_start_in(), looked_at)


def remember(home: Path) -> None:
    """Write down for this user that a stack was started in `home`."""
    record = _record()
    # a convenience only: a read-only home must not keep a stack from starting
    with contextlib.suppress(OSError):
        record.parent.mkdir(parents=True, exist_ok=True)
        record.write_text(f"{home.resolve()}\n", encoding="utf-8")


def is_running(home: Path) -> bool:
    """Tell whether the process lives that wrote itself into the lock of `home`."""
    try:
        os.kill(int((home / LOCK_FILE).read_text(encoding="utf-8")), 0)
    except PermissionError:
        return True
    except (OSError, ValueError, OverflowError):
        return False
    return True


def _candidates() -> Iterator[Home]:
    here = Path.cwd()
    for directory in (here, *here.parents):
        if (directory / DEFAULT_HOME / STACK_FILE).is_file():
            yield Home(directory / DEFAULT_HOME, f"{directory / DEFAULT_HOME}")
            break
    try:
        last = Path(_record().read_text(encoding="utf-8").strip())
    except (OSError, UnicodeDecodeError):
        return
    if (last / STACK_FILE).is_file():
        yield Home(last, f"{last}, where `octollm up` was started last")


def _is_ours(home: Path) -> bool:
    try:
        return (home / STACK_FILE).stat().st_uid == os.geteuid()
    except OSError:
        return False


def _record() -> Path:
    state = os.environ.get("XDG_STATE_HOME") or Path("~/.local/state").expanduser()
    return Path(state) / "octollm" / "last-up"
