"""Marks the processes of sandboxes with their worker, and ends those whose worker is gone."""

import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import structlog

from workers.sandbox import account

log = structlog.get_logger(__name__)

VARIABLE = "OCTOLLM_SANDBOX"
_TAG = re.compile(rb"(?:^|\0)(?:OCTOLLM_SANDBOX=)?octollm-sandbox:(\d+):(\d+)\0")
_STARTED_AT = 19


def tag() -> str:
    """Return the mark of this process' sandboxes: its number, and its start, as numbers come again."""
    return f"octollm-sandbox:{os.getpid()}:{_started(os.getpid())}"


def reap() -> int:
    """End what workers that no longer live left running, on this machine; return how many processes."""
    ended = 0
    free = account.free_users()
    for pid in _processes():
        if _is_orphan(pid, free) and _kill(pid):
            ended += 1
    if ended:
        log.warning("sandbox.orphans_ended", count=ended)
    return ended


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
