"""Marks the processes of sandboxes with their worker, and ends those whose worker is gone."""

import os
import re
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import structlog

from workers.sandbox import account
from workers.sandbox.scratch import remove

log = structlog.get_logger(__name__)

VARIABLE = "OCTOLLM_SANDBOX"
_TAG = re.compile(rb"(?:^|\0)(?:OCTOLLM_SANDBOX=)?octollm-sandbox:(\d+):(\d+)\0")
_DIRECTORY = re.compile(r"octollm-(\d+)-(\d+)-")
_STARTED_AT = 19


def tag() -> str:
    """Return the mark of this process' sandboxes: its number, and its start, as numbers come again."""
    return f"octollm-sandbox:{os.getpid()}:{_started(os.getpid())}"


def directory_prefix() -> str:
    """Return how the names of this process' temporary directories begin, so that another can remove them."""
    return f"octollm-{os.getpid()}-{_started(os.getpid())}-"


def reap() -> int:
    """End what workers that no longer live left running on this machine, and remove their temporary directories.

    Return how many processes that were.
    """
    ended = 0
    free = account.free_users()
    for pid in _processes():
        if _is_orphan(pid, free) and _kill(pid):
            ended += 1
    if ended:
        log.warning("sandbox.orphans_ended", count=ended)
    for directory in Path(tempfile.gettempdir()).glob("octollm-*-*-*"):
        if _is_left(directory):
            remove(directory)
    return ended


def _is_left(directory: Path) -> bool:
    named = _DIRECTORY.match(directory.name)
    if named is None or _started(int(named[1])) == int(named[2]):
        return False
    try:
        return directory.lstat().st_uid in (os.geteuid(), *account.free_users()) and directory.is_dir()
    except OSError:
        return False


def _processes() -> Iterator[int]:
    if Path("/proc/self/stat").exists():
        yield from (int(name) for name in os.listdir("/proc") if name.isdigit())


def _is_orphan(pid: int, free: set[int]) -> bool:
    try:
        if os.stat(f"/proc/{pid}").st_uid in free:
            return True
        marked = _TAG.search(_read(pid, "cmdline") + b"\0" + _read(pid, "environ"))
    except OSError:
        return False
    if marked is None or pid == os.getpid():
        return False
    owner, started = int(marked[1]), int(marked[2])
    return _started(owner) != started


def _read(pid: int, name: str) -> bytes:
    try:
        with open(f"/proc/{pid}/{name}", "rb") as file:
            return file.read(65_536)
    except PermissionError:
        return b""


def _started(pid: int) -> int:
    """Return when a process started, in clock ticks since the boot; 0 for one that is gone or a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="latin-1").rpartition(")")[2].split()
    except OSError:
        return 0
    return 0 if fields[0] in "ZX" else int(fields[_STARTED_AT])


def _kill(pid: int) -> bool:
    try:
        os.kill(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return False
    return True
