"""A small process that ends our child processes if we are killed, SIGKILL included.

It reads `add PID SIGNAL` and `remove PID` from a pipe. When the pipe closes, which happens however its owner ends, it
signals the registered processes, newest first, and kills the process groups that remain. PR_SET_PDEATHSIG was
rejected: it fires when the starting *thread* ends, signals one process instead of its group, has no order, and exists
on Linux only.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable

GRACE_SECONDS = 5.0


class ChildReaper:
    """The owner's side. The watching process starts with the first registered one; each must lead its own group."""

    def __init__(self) -> None:
        self._watcher: subprocess.Popen[str] | None = None

    def add(self, pid: int, orphan_signal: signal.Signals) -> None:
        """Register `pid`: it gets the signal `orphan_signal` when this process dies."""
        self._write(f"add {pid} {int(orphan_signal)}\n")

    def remove(self, pid: int) -> None:
        """Unregister `pid`, which has ended."""
        self._write(f"remove {pid}\n")

    def close(self) -> None:
        """End the processes that are still registered, and the watcher. Safe to call twice."""
        if self._watcher is not None:
            self._watcher.communicate(timeout=GRACE_SECONDS * 2)
            self._watcher = None

    def _write(self, line: str) -> None:
        if self._watcher is None:
            argv = [sys.executable, "-I", "-S", __file__]
            self._watcher = subprocess.Popen(argv, stdin=subprocess.PIPE, start_new_session=True, text=True)
        if self._watcher.stdin is not None:
            self._watcher.stdin.write(line)
            self._watcher.stdin.flush()


def watch(lines: Iterable[str]) -> None:
    """Apply the owner's lines until the pipe closes, then end the registered processes."""
    registered: dict[int, int] = {}
    for line in lines:
        verb, pid, *rest = line.split()
        if verb == "add":
            registered[int(pid)] = int(rest[0])
        else:
            registered.pop(int(pid), None)
    end(registered)


def end(registered: dict[int, int]) -> None:
    """Send each process its signal, newest first; after GRACE_SECONDS kill the groups that remain."""
    for pid in reversed(registered):
        _signal(pid, registered[pid])
    give_up = time.monotonic() + GRACE_SECONDS
    while time.monotonic() < give_up and any(_signal(pid, 0) for pid in registered):
        time.sleep(0.02)
    for pid in registered:
        _signal(pid, signal.SIGKILL)


def _signal(pid: int, number: int) -> bool:
    """Send SIGKILL or 0 (does it exist?) to the group of `pid`, any other signal to its leader; False: none is left."""
    try:
        if number in {0, signal.SIGKILL}:
            os.killpg(pid, number)
        else:
            os.kill(pid, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


if __name__ == "__main__":
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    watch(sys.stdin)
