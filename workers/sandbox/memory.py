"""Knows a process' descendants, and measures the memory that they hold for themselves."""

import os
from typing import NamedTuple

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_MOST_PROCESSES = 4_096


def children_of(pid: int) -> list[int]:
    """Return the children of a process' main thread; none when it is gone."""
    try:
        with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as children:
            return list(map(int, children.read().split()))
    except OSError:
        return []


class Held(NamedTuple):
    """What a process and its descendants hold: resident bytes, shared pages left out, and their number."""

    memory_bytes: int
    processes: int


def held_by(pid: int) -> Held:
    """Measure a process and its descendants; nothing when it is gone."""
    total, pending, seen = 0, [pid], 0
    while pending and seen < _MOST_PROCESSES:
        one = pending.pop()
        seen += 1
        try:
            with open(f"/proc/{one}/statm", encoding="ascii") as statm:
                _, resident, shared, *_ = map(int, statm.read().split())
        except OSError:
            continue
        pending += children_of(one)
        total += max(resident - shared, 0) * _PAGE_BYTES
    return Held(total, seen)
