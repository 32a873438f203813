"""Finds and signals processes: children, descendants, command lines, environments."""

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path


def children(pid: int) -> list[int]:
    """Return the ids of a process' children, of all its threads."""
    found: list[int] = []
    with contextlib.suppress(OSError):
        for thread in Path(f"/proc/{pid}/task").iterdir():
            found += map(int, (thread / "children").read_text().split())
    return found


def pool_children(pid: int) -> list[int]:
    """Return the children of a worker that run steps: not its watchdog, nor its limited parser."""
    return [child for child in children(pid) if "-m workers -Q" in told_of(child).partition("\n")[0]]


def with_descendants(pid: int) -> list[int]:
    """Return the id and the ids of all descendants."""
    found = [pid]
    for child in children(pid):
        found += with_descendants(child)
    return found


def runs(pid: int) -> bool:
    """Return whether the process runs; a zombie does not."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="latin-1")
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] not in "ZX"


def send(pid: int, number: signal.Signals) -> bool:
    """Signal a process; return False if it has ended."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
        return True
    return False


def others() -> Iterator[int]:
    """Yield every running process of this machine except ourselves."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid() and runs(int(entry.name)):
            yield int(entry.name)


def told_of(pid: int) -> str:
    """Return a process's command line and, on the following lines, its environment; empty if it has ended."""
    try:
        command, environment = (Path(f"/proc/{pid}/{name}").read_bytes() for name in ("cmdline", "environ"))
    except OSError:
        return ""
    text = command.replace(b"\0", b" ") + b"\n" + environment.replace(b"\0", b"\n")
    return text.decode(errors="replace")
