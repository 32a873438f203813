"""Starts long-running processes in sessions of their own, and stops them."""

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

from orchestrator.devserver.child_reaper import Leash
from orchestrator.models.errors import SettingsError

_POLL_SECONDS = 0.02


@dataclass(slots=True)
class Process:
    """A running process: our own child, or one that a killed predecessor of ours left behind."""

    pid: int
    child: subprocess.Popen[bytes] | None = None
    leash: Leash | None = field(default=None, repr=False)

    def is_alive(self) -> bool:
        """Answer whether it runs; a child that has ended is reaped by asking."""
        if self.child is not None:
            return self.child.poll() is None
        return is_running(self.pid)

    def wait(self, seconds: float) -> bool:
        """Wait at most `seconds` for its end; answer whether it ended."""
        give_up = time.monotonic() + seconds
        while self.is_alive():
            if time.monotonic() >= give_up:
                return False
            time.sleep(_POLL_SECONDS)
        if self.leash is not None:
            self.leash.drop(self.pid)
        return True

    def stop(self, gentle: signal.Signals, *, seconds: float) -> None:
        """Ask it to end by the signal `gentle`; after `seconds` kill its whole group. Safe to call twice."""
        self.send(gentle)
        if not self.wait(seconds):
            self.kill()
            self.wait(seconds)

    def send(self, number: signal.Signals) -> None:
        """Signal the process, if it still runs."""
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
    leash: Leash,
    at_death: signal.Signals,
    **options: Any,
) -> Process:
    """Start `argv` in its own session, output appended to `log`; `at_death` ends it when we are killed.

    `options` go to subprocess.Popen. The new session keeps the terminal's Ctrl-C from reaching it.
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
    leash.hold(child.pid, at_death)
    return Process(child.pid, child, leash)


def is_running(pid: int) -> bool:
    """Answer whether a process with this id exists."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def command_of(pid: int) -> str:
    """Return the command line of a process, empty when there is none."""
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
    """Answer whether a server could listen on 127.0.0.1:`port` now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def keep_port(record: Path) -> int:
    """Return the port written in `record` while it is free, else a new free one, which is written there."""
    with contextlib.suppress(FileNotFoundError, ValueError):
        port = int(record.read_text())
        if is_free(port):
            return port
    port = free_port()
    record.write_text(f"{port}\n")
    return port


def free_port() -> int:
    """Return a port of 127.0.0.1 on which nobody listens now.

    It lies below the ports that systems give to outgoing connections (Linux: from 32768), one of which could
    take it before our server does, or while our server is down.
    """
    for _ in range(100):
        port = random.randrange(15_000, 32_768)
        if is_free(port):
            return port
    raise SettingsError("no free port between 15000 and 32767: stop something, or name servers that run")


def tail(log: Path, *, lines: int = 15) -> str:
    """Return the last lines of a log file."""
    try:
        return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])
    except FileNotFoundError:
        return ""
