"""Shares the metrics of all processes of a host through files, one set of files per slot.

prometheus_client names a process's files after its pid, so that a pool which recycles its children leaves a set of
files for each child forever. Here a process takes the lowest free slot number, and continues the counters of the
dead process that had it before.
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
    """The numbered slots of a directory; a process that holds slot N locks `slot-N.lock`."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._pid = 0
        self._name = ""
        self._lock_file = -1

    def own(self) -> str:
        """Return this process's slot; take one if it has none, as after a fork."""
        if self._pid != os.getpid():
            self._take()
        return self._name

    def _take(self) -> None:
        if self._lock_file >= 0:
            os.close(self._lock_file)
        self._directory.mkdir(parents=True, exist_ok=True)
        attempts = (self._try(f"slot-{number}") for number in count())
        self._name, self._lock_file = next(held for held in attempts if held)
        self._pid = os.getpid()

    def _try(self, name: str) -> tuple[str, int] | None:
        lock_file = os.open(self._directory / f"{name}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            # a POSIX lock, not flock: a fork does not inherit it, and the kernel releases it when the process ends
            fcntl.lockf(lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(lock_file)
            return None
        return name, lock_file


def share() -> bool:
    """Share all metrics created from now on with the other processes of this host; return whether that worked.

    Call it before the first metric is created. The directory is PROMETHEUS_MULTIPROC_DIR, by default `metrics` in the
    state directory; it is created. Returns False if it is `none` or can't be created: metrics are then per process.
    """
    read_env_file()
    named = os.environ.get(VARIABLE, "").strip()
    default = Path(os.environ.get("OCTOLLM_HOME") or DEFAULT_HOME) / "metrics"
    directory = Path(named or default).absolute()
    if named == ALONE or not _is_writable(directory):
        # the libraries check only whether it is set
        os.environ.pop(VARIABLE, None)
        values.ValueClass = values.MutexValue
        return False
    os.environ[VARIABLE] = str(directory)
    use_slots(directory)
    return True


def _is_writable(directory: Path) -> bool:
    try:
        # with the mode that `octollm up` uses, since secrets will be stored beside the metrics
        directory.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        directory.mkdir(exist_ok=True)
    except OSError:
        return False
    return os.access(directory, os.W_OK)


def use_slots(directory: Path) -> None:
    """Store the values of all metrics created from now on in `directory`, one set of files per slot.

    Call it before the first metric is created; PROMETHEUS_MULTIPROC_DIR must name the same directory.
    """
    values.ValueClass = values.MultiProcessValue(Slots(directory).own)  # type: ignore[no-untyped-call]  # theirs
