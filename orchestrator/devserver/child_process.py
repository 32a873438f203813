"""Starts, signals and stops child processes; finds free ports."""

import contextlib
import os
import random
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from orchestrator.devserver.child_reaper import ChildReaper
from orchestrator.models.errors import SettingsError

_POLL_SECONDS = 0.02


@dataclass(slots=True)
class Process:
    """A running process: our own child, or one that an earlier, killed `octollm up` left running."""

    pid: int
    child: subprocess.Popen[bytes] | None = None
    reaper: ChildReaper | None = field(default=None, repr=False)

    def is_alive(self) -> bool:
        """Return whether it runs; reaps a child that has ended."""
        if self.child is not None:
            return self.child.poll() is None
        return is_running(self.pid)

    def wait(self, seconds: float) -> bool:
        """Wait at most `seconds` for its end; return whether it ended."""
        give_up = time.monotonic() + seconds
        while self.is_alive():
            if time.monotonic() >= give_up:
                return False
            time.sleep(_POLL_SECONDS)
        if self.reaper is not None:
            self.reaper.remove(self.pid)
        return True

    def stop(self, gentle: signal.Signals, *, seconds: float) -> None:
        """Send the signal `gentle`; after `seconds` kill its process group. Safe to call twice."""
        self.send(gentle)
        if not self.wait(seconds):
            self.kill()
            self.wait(seconds)

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the process if it is alive."""
        if self.is_alive():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self) -> None:
        """Kill its process group, children included."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)


def launch(
    argv: Sequence[str],
    *,
    environ: Mapping[str, str],
    log: Path,
    reaper: ChildReaper,
    orphan_signal: signal.Signals,
    **options: Any,
) -> Process:
    """Start `argv` in its own session, its output appended to `log`; if we are killed it gets `orphan_signal`.

    `options` go to subprocess.Popen. In its own session it does not receive the terminal's Ctrl-C.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        child = subprocess.Popen(
            argv,
            env=dict(environ),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            **options,
        )
    reaper.add(child.pid, orphan_signal)
    return Process(child.pid, child, reaper)


def is_running(pid: int) -> bool:
    """Return whether a process with this id exists."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def command_of(pid: int) -> str:
    """Return the command line of a process; empty if it does not exist."""
    listing = Path(f"/proc/{pid}/cmdline")
    if Path("/proc/self").exists():
        try:
            return listing.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            return ""
    found = subprocess.run(
        ["ps", "-p", str(pid), "-o", "command="], check=False, capture_output=True, text=True, timeout=10
    )
    return found.stdout


def is_free(port: int) -> bool:
    """Return whether a server could listen on 127.0.0.1:`port` now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def keep_port(record: Path) -> int:
    """Return the port in the file `record` if it is free, else a new free port, which it writes there."""
    with contextlib.suppress(FileNotFoundError, ValueError):
        port = int(record.read_text())
        if is_free(port):
            return port
    port = free_port()
    record.write_text(f"{port}\n")
    return port


def free_port() -> int:
    """Return a port of 127.0.0.1 on which nobody listens now. Raises SettingsError.

    It is below the range for outgoing connections (Linux: from 32768): one of those could take the port before our
    server does, or while our server is down.
    """
    for _ in range(100):
        port = random.randrange(15_000, 32_768)
        if is_free(port):
            return port
    raise SettingsError(
        "no free port between 15000 and 32767: stop a server, or set DATABASE_URL and REDIS_URL"
    )


def tail(log: Path, *, lines: int = 15) -> str:
    """Return the last lines of a log file."""
    try:
        return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])
    except FileNotFoundError:
        return ""
