"""The leash: a small process beside ours that ends what we started, should we be killed.

It reads `hold PID SIGNAL` and `drop PID` from a pipe and sleeps. When the pipe closes, and it closes however
the holder dies, it signals what is still held, newest first, and kills the process groups that stay.
PR_SET_PDEATHSIG was rejected: it fires when the starting *thread* ends, knows one process rather than its
group, has no order, and is Linux only.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable

GRACE_SECONDS = 5.0


class Leash:
    """The holder's end; the watcher starts with the first process held, which must lead its own group."""

    def __init__(self) -> None:
        self._watcher: subprocess.Popen[str] | None = None

    def hold(self, pid: int, at_death: signal.Signals) -> None:
        """End `pid` with the signal `at_death` when this process dies."""
        self._tell(f"hold {pid} {int(at_death)}\n")

    def drop(self, pid: int) -> None:
        """Forget `pid`: it has ended."""
        self._tell(f"drop {pid}\n")

    def release(self) -> None:
        """Let go: what is still held is ended now. Safe to call twice."""
        if self._watcher is not None:
            self._watcher.communicate(timeout=GRACE_SECONDS * 2)
            self._watcher = None

    def _tell(self, line: str) -> None:
        if self._watcher is None:
            argv = [sys.executable, "-I", "-S", __file__]
            self._watcher = subprocess.Popen(argv, stdin=subprocess.PIPE, start_new_session=True, text=True)
        if self._watcher.stdin is not None:
            self._watcher.stdin.write(line)
            self._watcher.stdin.flush()


def watch(lines: Iterable[str]) -> None:
    """Follow the holder's lines to their end, then end what is still held."""
    held: dict[int, int] = {}
    for line in lines:
        verb, pid, *rest = line.split()
        if verb == "hold":
            held[int(pid)] = int(rest[0])
        else:
            held.pop(int(pid), None)
    end(held)


def end(held: dict[int, int]) -> None:
    """Send each its signal, newest first; after GRACE_SECONDS kill the groups that stay."""
    for pid in reversed(held):
        _send(pid, held[pid])
    give_up = time.monotonic() + GRACE_SECONDS
    while time.monotonic() < give_up and any(_send(pid, 0) for pid in held):
        time.sleep(0.02)
    for pid in held:
        _send(pid, signal.SIGKILL)


def _send(pid: int, number: int) -> bool:
    """Signal the group of `pid` when it is to die hard or to be looked at, else its leader alone."""
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
