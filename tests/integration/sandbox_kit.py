"""Runs attacks with and without a sandbox, by the same code that runs tools."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from workers.sandbox.backend import MEBIBYTE, Backend, Isolation, ToolLimits
from workers.sandbox.readable_files import is_open_to_all
from workers.sandbox.run import ToolResult, run
from workers.sandbox.selection import backend_of

SMALL = ToolLimits(
    cpu_seconds=5,
    memory_bytes=256 * MEBIBYTE,
    file_bytes=2 * MEBIBYTE,
    processes=24,
    tree_memory_bytes=128 * MEBIBYTE,
    scratch_bytes=4 * MEBIBYTE,
    wall_seconds=15,
    output_bytes=64 * 1024,
)
BROKE_OUT = b"broke out"
NOBODY = 65_533


def kinds_here() -> dict[str, Backend]:
    """Return every kind of sandbox of this machine by its level, and basic as on an old kernel."""
    found = {level: backend_of(level) for level in (Isolation.STRONG, Isolation.BASIC)}
    return {str(level): kind for level, kind in found.items() if not isinstance(kind, str)}


def guarded(
    backend: Backend, attack: str, *arguments: str, inputs: Path, limits: ToolLimits = SMALL
) -> ToolResult:
    """Run an attack in a sandbox; the word SCRATCH among its arguments stands for its scratch directory."""
    with backend.cell(inputs, limits) as cell:
        words = [str(cell.scratch) if word == "SCRATCH" else word for word in arguments]
        return run(
            cell,
            [sys.executable, "-I", "-c", attack, *words],
            environment={"PATH": "/usr/bin:/bin"},
            limits=limits,
            checkpoint=lambda: None,
        )


def unguarded(attack: str, *arguments: str, inputs: Path) -> bytes:
    """Run an attack as a plain child with an empty environment; return what it printed."""
    scratch = inputs.parent / "scratch"
    scratch.mkdir(exist_ok=True)
    words = [str(scratch) if word == "SCRATCH" else word for word in arguments]
    argv = [sys.executable, "-I", "-c", attack, *words]
    return subprocess.run(argv, cwd=inputs, env={}, capture_output=True, timeout=30, check=False).stdout


def marked(mark: str) -> list[int]:
    """Return the processes of this machine that have `mark` among their arguments."""
    found = []
    for place in Path("/proc").iterdir():
        try:
            if place.name.isdigit() and mark.encode() in (place / "cmdline").read_bytes().split(b"\0"):
                found.append(int(place.name))
        except OSError:
            continue
    return found


def end(pids: Sequence[int]) -> None:
    """Kill processes that an attack without a sandbox left."""
    for pid in pids:
        os.kill(pid, 9)


def as_nobody(place: Path) -> tuple[list[str], dict[str, str]]:
    """Return the start of a command line, and an environment, for an unprivileged user who owns `place`.

    Empty where the tests run as such a user already. Root's Python may lie in a home that nobody else may enter: in
    a mount namespace it then lies in an open one.
    """
    if os.geteuid() != 0:
        return [], {}
    place.mkdir(parents=True, exist_ok=True)
    os.chown(place, NOBODY, NOBODY)
    environment = {"HOME": str(place), "TMPDIR": str(place), "PYTHONDONTWRITEBYTECODE": "1"}
    drop = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--no-new-privs"]
    base = Path(sys.base_prefix).resolve()
    if is_open_to_all(base):
        return drop, environment
    closed = next(above for above in reversed(base.parents) if not is_open_to_all(above))
    moved = place / "python"
    moved.mkdir()
    script = (
        'set -e; mount --bind "$1" "$2"; mount -t tmpfs -o mode=755 tmpfs "$3"; mkdir -p "$1"; '
        'mount --move "$2" "$1"; shift 3; exec "$@"'
    )
    words = [str(base), str(moved), str(closed), *drop]
    return ["unshare", "--mount", "--propagation=private", "sh", "-c", script, "sh", *words], environment
