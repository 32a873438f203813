"""Removes what sandboxes leave behind: processes and directories of workers that have died, scratch directories.

Each process and each temporary directory carries its worker's pid and start time, since pids are used again.
"""

import os
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import structlog

from workers.sandbox import tool_users

log = structlog.get_logger(__name__)

VARIABLE = "OCTOLLM_SANDBOX"
_TAG = re.compile(rb"(?:^|\0)(?:OCTOLLM_SANDBOX=)?octollm-sandbox:(\d+):(\d+)\0")
_DIRECTORY = re.compile(r"octollm-(\d+)-(\d+)-")
# the index of a process' start time among the fields of /proc/PID/stat that follow its name
_START_TIME = 19


def tag() -> str:
    """Return the mark that this process' sandboxes carry in their arguments and environment."""
    return f"octollm-sandbox:{os.getpid()}:{_started(os.getpid())}"


def directory_prefix() -> str:
    """Return the prefix of this process' temporary directories, so that another worker can remove them."""
    return f"octollm-{os.getpid()}-{_started(os.getpid())}-"


def reap() -> int:
    """Kill the sandboxes of workers that have died, and remove their temporary directories.

    Returns the number of processes killed.
    """
    killed = 0
    free = tool_users.free_users()
    for pid in _processes():
        if _is_orphan(pid, free) and _kill(pid):
            killed += 1
    if killed:
        log.warning("sandbox.orphans_ended", count=killed)
    remove_abandoned(Path(tempfile.gettempdir()))
    return killed


def remove_abandoned(parent: Path) -> None:
    """Remove the directories of workers that have died below `parent`, which carry their owner in their names."""
    for directory in parent.glob("octollm-*-*-*"):
        if _is_abandoned(directory):
            remove(directory)


def remove(directory: Path) -> None:
    """Remove a directory tree, even one without permissions or thousands of levels deep.

    Logs what can't be removed and leaves it: the step's outcome does not depend on it.
    """
    try:
        shutil.rmtree(directory)
    except (OSError, RecursionError):
        # neither command follows links or recurses
        for words in (["chmod", "-R", "u+rwX"], ["rm", "-rf"]):
            subprocess.run([*words, "--", str(directory)], check=False, capture_output=True)
        if directory.exists():
            log.error("scratch.not_removed", directory=str(directory))


def _is_abandoned(directory: Path) -> bool:
    named = _DIRECTORY.match(directory.name)
    if named is None or _started(int(named[1])) == int(named[2]):
        return False
    try:
        return directory.lstat().st_uid in (os.geteuid(), *tool_users.free_users()) and directory.is_dir()
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
    """Return when a process started, in clock ticks since boot; 0 when it is gone or a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="latin-1").rpartition(")")[2].split()
    except OSError:
        return 0
    return 0 if fields[0] in "ZX" else int(fields[_START_TIME])


def _kill(pid: int) -> bool:
    try:
        os.kill(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return False
    return True
