"""Measures what a process and its descendants hold: memory, and deleted files that are still open or mapped."""

import os
import re
import stat
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

_KIBIBYTE = 1024
_MAX_PROCESSES = 4_096
_MAX_MAPS_BYTES = 2 * 1024**2
"""A Python process with a hundred libraries has 100 kB of mappings."""
_HELD = re.compile(rb"^(RssAnon|RssShmem|VmSwap):\s+(\d+) kB", re.MULTILINE)
_SHARE = re.compile(rb"^(Pss_Anon|Pss_Shmem|SwapPss):\s+(\d+) kB", re.MULTILINE)


class HeldMemory(NamedTuple):
    """The memory of processes in bytes: `own`, swapped out or not, and `shared`, which includes files of a tmpfs."""

    own: int
    shared: int


def children_of(pid: int) -> list[int]:
    """Return the children that any thread of a process started; empty when the process is gone."""
    found: list[int] = []
    try:
        for thread in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{thread}/children", encoding="ascii") as children:
                found += map(int, children.read().split())
    except OSError:
        return found
    return found


def tree_of(pid: int) -> list[int]:
    """Return a process and its descendants, the process first; it stops after a few thousand."""
    pending, seen = [pid], [pid]
    while pending and len(seen) < _MAX_PROCESSES:
        found = children_of(pending.pop())
        pending += found
        seen += found
    return seen


def held_by(pids: Iterable[int]) -> HeldMemory:
    """Return the memory of processes; memory that several of them share counts once for each."""
    own = shared = 0
    for pid in pids:
        sizes = _sizes(pid, "status", _HELD)
        own += sizes.get(b"RssAnon", 0) + sizes.get(b"VmSwap", 0)
        shared += sizes.get(b"RssShmem", 0)
    return HeldMemory(own, shared)


def shares_of(pids: Sequence[int]) -> HeldMemory:
    """Return the memory of processes; memory that several of them share counts once. Slow: it walks their mappings.

    A process whose mappings can't be read counts as in `held_by`.
    """
    own = shared = 0
    for pid in pids:
        sizes = _sizes(pid, "smaps_rollup", _SHARE)
        held = (
            HeldMemory(sizes.get(b"Pss_Anon", 0) + sizes.get(b"SwapPss", 0), sizes.get(b"Pss_Shmem", 0))
            if sizes
            else held_by([pid])
        )
        own, shared = own + held.own, shared + held.shared
    return HeldMemory(own, shared)


def deleted_bytes(pids: Iterable[int], below: Path, *, unseen_bytes: int) -> int | None:
    """Return the bytes on disk of deleted files that processes have open, or mapped from the directory `below`.

    The size of a mapped file that no process has open is unknown: it counts as `unseen_bytes`. Returns None when a
    process hides its files, or has more mappings than are read.
    """
    sizes: dict[int, int] = {}
    mapped: set[int] = set()
    pattern = re.compile(
        rb"^\S+ \S+ \S+ \S+ (\d+) +" + re.escape(os.fsencode(below)) + rb"/.* \(deleted\)$",
        re.MULTILINE,
    )
    for pid in pids:
        try:
            sizes |= _open_deleted_files(pid)
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


def _sizes(pid: int, name: str, pattern: re.Pattern[bytes]) -> dict[bytes, int]:
    try:
        with open(f"/proc/{pid}/{name}", "rb") as file:
            return {key: int(number) * _KIBIBYTE for key, number in pattern.findall(file.read())}
    except OSError:
        return {}


def _open_deleted_files(pid: int) -> dict[int, int]:
    """Return sizes by inode. The device is left out: on overlay file systems mappings and stat name it differently."""
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
    """Return whether a process still runs. One that is ending belongs to root for a moment and can't be read."""
    try:
        with open(f"/proc/{pid}/status", "rb") as status:
            return b"\nVmSize:" in status.read()
    except OSError:
        return False
