"""Gives each process of a host the lowest free number: its metrics continue the files of a dead one.

prometheus_client names a process's files after its pid: a pool that recycles its children leaves a set of
files for each of them, for ever. A number that is free again is taken over with its counters.
"""

import fcntl
import os
from itertools import count
from pathlib import Path

from prometheus_client import values

from orchestrator.settings_file import DEFAULT_HOME, read_env_file

VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
ALONE = "none"


class Slots:
    """The numbered slots of a directory; the holder of a slot has a lock on `slot-N.lock`."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._pid = 0
        self._name = ""
        self._lock_file = -1

    def mine(self) -> str:
        """Return this process's slot, taking one if it has none; a forked child has none yet."""
        if self._pid != os.getpid():
            self._take()
        return self._name

    def _take(self) -> None:
        if self._lock_file >= 0:
            os.close(self._lock_file)
        self._directory.mkdir(parents=True, exist_ok=True)
        tries = (self._try(f"slot-{number}") for number in count())
        self._name, self._lock_file = next(held for held in tries if held)
        self._pid = os.getpid()

    def _try(self, name: str) -> tuple[str, int] | None:
        lock_file = os.open(self._directory / f"{name}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            # a POSIX lock, not flock: a fork does not inherit it, and the kernel frees it with its process
            fcntl.lockf(lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(lock_file)
            return None
        return name, lock_file


def share() -> bool:
    """Have every metric made from now on shared by the processes of this host; call it before the first is made.

    They share PROMETHEUS_MULTIPROC_DIR, by default `metrics` in the state directory, which is made. False where it
    is `none` or can't be made: this process then has figures of its own.
    """
    read_env_file()
    named = os.environ.get(VARIABLE, "").strip()
    default = Path(os.environ.get("OCTOLLM_HOME") or DEFAULT_HOME) / "metrics"
    directory = Path(named or default).absolute()
    if named == ALONE or not _made(directory):
        # the libraries take its presence for a yes
        os.environ.pop(VARIABLE, None)
        values.ValueClass = values.MutexValue
        return False
    os.environ[VARIABLE] = str(directory)
    use_slots(directory)
    return True


def _made(directory: Path) -> bool:
    try:
        # as `octollm up` makes it: secrets will lie beside the metrics
        directory.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        directory.mkdir(exist_ok=True)
    except OSError:
        return False
    return os.access(directory, os.W_OK)


def use_slots(directory: Path) -> None:
    """Make every metric made from now on keep its values in `directory`, one set of files a slot.

    Call it before the first metric is made; PROMETHEUS_MULTIPROC_DIR must name the same directory.
    """
    values.ValueClass = values.MultiProcessValue(Slots(directory).mine)  # type: ignore[no-untyped-call]  # theirs
