"""Counts files that processes keep though they are deleted: they have no name under which they could be found."""

import os
import re
import stat
from collections.abc import Iterable
from pathlib import Path

_MAX_MAPS_BYTES = 2 * 1024**2
"""A Python process with a hundred libraries has 100 kB of mappings."""


def bytes_kept(pids: Iterable[int], below: Path, *, unseen_bytes: int) -> int | None:
    """Return the bytes on disk of deleted files that processes have open, or mapped from the directory `below`.

    A mapped file that nobody has open any more does not show its size: it counts as `unseen_bytes`. Returns None when
    a process hides its files, or has more mappings than could be looked at.
    """
    sizes: dict[int, int] = {}
    mapped: set[int] = set()
    pattern = re.compile(
        rb"^\S+ \S+ \S+ \S+ (\d+) +" + re.escape(os.fsencode(below)) + rb"/.* \(deleted\)$",
        re.MULTILINE,
    )
    for pid in pids:
        try:
            sizes |= _open_files(pid)
            with open(f"/proc/{pid}/maps", "rb") as file:
                maps = file.read(_MAX_MAPS_BYTES)
        except PermissionError:
            if _has_memory(pid):
                return None
            continue
        except OSError:
            continue
        if len(maps) == _MAX_MAPS_BYTES:
            return None
        mapped |= set(map(int, pattern.findall(maps)))
    return sum(sizes.values()) + unseen_bytes * len(mapped - sizes.keys())


def _open_files(pid: int) -> dict[int, int]:
    """Return sizes by inode; mappings name devices differently than stat where a file system lies over another."""
    found = {}
    for name in os.listdir(f"/proc/{pid}/fd"):
        try:
            about = os.stat(f"/proc/{pid}/fd/{name}")
        except FileNotFoundError:
            continue
        if stat.S_ISREG(about.st_mode) and about.st_nlink == 0:
            found[about.st_ino] = about.st_blocks * 512
    return found


def _has_memory(pid: int) -> bool:
    """Tell whether a process still runs: one that ends belongs to root for a moment, and shows nothing."""
    try:
        with open(f"/proc/{pid}/status", "rb") as status:
            return b"\nVmSize:" in status.read()
    except OSError:
        return False
