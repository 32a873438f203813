"""Knows a process' descendants, and measures the memory that they hold."""

import os
import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

_KIBIBYTE = 1024
_MAX_PROCESSES = 4_096
_HELD = re.compile(rb"^(RssAnon|RssShmem|VmSwap):\s+(\d+) kB", re.MULTILINE)
_SHARE = re.compile(rb"^(Pss_Anon|Pss_Shmem|SwapPss):\s+(\d+) kB", re.MULTILINE)


class Held(NamedTuple):
    """What processes hold, in bytes: `own` memory, swapped out or not, and `shared` memory, files of a tmpfs too."""

    own: int
    shared: int


def children_of(pid: int) -> list[int]:
    """Return the children of a process, whichever of its threads started them; none when it is gone."""
    found: list[int] = []
    try:
        for thread in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{thread}/children", encoding="ascii") as children:
                found += map(int, children.read().split())
    except OSError:
        return found
    return found


def tree_of(pid: int) -> list[int]:
    """Return a process and its descendants, at most a few thousand."""
    pending, seen = [pid], [pid]
    while pending and len(seen) < _MAX_PROCESSES:
        found = children_of(pending.pop())
        pending += found
        seen += found
    return seen


def held_by(pids: Iterable[int]) -> Held:
    """Measure what processes hold; memory that several of them share counts for each."""
    own = shared = 0
    for pid in pids:
        sizes = _sizes(pid, "status", _HELD)
        own += sizes.get(b"RssAnon", 0) + sizes.get(b"VmSwap", 0)
        shared += sizes.get(b"RssShmem", 0)
    return Held(own, shared)


def shares_of(pids: Sequence[int]) -> Held:
    """Measure what processes hold; memory that several of them share counts once. It walks all of their memory.

    A process that can't be looked into counts as in `held_by`.
    """
    own = shared = 0
    for pid in pids:
        sizes = _sizes(pid, "smaps_rollup", _SHARE)
        held = (
            Held(sizes.get(b"Pss_Anon", 0) + sizes.get(b"SwapPss", 0), sizes.get(b"Pss_Shmem", 0))
            if sizes
            else held_by([pid])
        )
        own, shared = own + held.own, shared + held.shared
    return Held(own, shared)


def _sizes(pid: int, name: str, pattern: re.Pattern[bytes]) -> dict[bytes, int]:
    try:
        with open(f"/proc/{pid}/{name}", "rb") as file:
            return {key: int(number) * _KIBIBYTE for key, number in pattern.findall(file.read())}
    except OSError:
        return {}
