"""Shares the metrics of all processes of a host through files, one set of files per slot.

prometheus_client names a process's files after its pid, so that a pool which recycles its children leaves a set of
files for each child forever. Here a process takes the lowest free slot number, and continues the counters of the
dead process that had it before.
"""

import fcntl
import os
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from itertools import count
from pathlib import Path
from tempfile import NamedTemporaryFile

from prometheus_client import values
from prometheus_client.core import Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from orchestrator.settings_file import DEFAULT_HOME, read_env_file

VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
ALONE = "none"
_FAULT = (
    "metrics can't be shared in {directory} ({reason}), so each process would report its own only: let this user write "
    f"there, or set {VARIABLE} to a directory of all processes of this host, or to {ALONE}"
)


class Slots:
    """The numbered slots of a directory; a process that holds slot N locks `slot-N.lock`.

    The lock file has the release whose metrics are in the slot's files. Files of another release are removed with the
    slot's next lock: their metrics may have other names and labels now.
    """

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

    def clean(self) -> None:
        """Remove the files that dead processes of other releases left; call it before `own`."""
        for lock in self._directory.glob("slot-*.lock"):
            if lock.read_text() != _release() and (held := self._try(lock.stem)):
                os.close(held[1])
        for file in self._directory.glob("*.db"):
            # older releases named the files after process ids. A slot's lock is there before its files, so it is looked
            # for after them: a process that starts meanwhile keeps its own
            if not (self._directory / f"{file.stem.rpartition('_')[2]}.lock").exists():
                file.unlink(missing_ok=True)

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
        if os.pread(lock_file, 200, 0) != _release().encode():
            for file in self._directory.glob(f"*_{name}.db"):
                file.unlink(missing_ok=True)
            os.ftruncate(lock_file, 0)
            os.pwrite(lock_file, _release().encode(), 0)
        return name, lock_file


@cache
def _release() -> str:
    return version("octollm-orchestrator")


class SharedMetrics(Collector):
    """The metrics of all processes that share a directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def collect(self) -> Iterable[Metric]:
        """Return the sums over the processes. A file without content is of a process that died as it began to write."""
        files = [str(file) for file in self._directory.glob("*.db") if file.stat().st_size]
        merged: Iterable[Metric] = MultiProcessCollector.merge(files)  # type: ignore[no-untyped-call]  # theirs
        return merged


@dataclass(frozen=True)
class Sharing:
    """Where this process shares its metrics: None if it keeps them. `fault` says what is wrong, else it is "".

    `is_named`: the directory comes from PROMETHEUS_MULTIPROC_DIR.
    """

    directory: Path | None
    fault: str = ""
    is_named: bool = False


def share() -> Sharing:
    """Share all metrics created from now on with the other processes of this host.

    Call it before the first metric is created. The directory is PROMETHEUS_MULTIPROC_DIR, by default `metrics` in the
    state directory; it is created. If it is `none` or can't be written, metrics are per process.
    """
    read_env_file()
    named = os.environ.get(VARIABLE, "").strip()
    default = Path(os.environ.get("OCTOLLM_HOME") or DEFAULT_HOME) / "metrics"
    directory = Path(named or default).absolute()
    reason = "" if named == ALONE else _why_not_writable(directory)
    if named == ALONE or reason:
        # the libraries check only whether it is set
        os.environ.pop(VARIABLE, None)
        values.ValueClass = values.MutexValue
        return Sharing(None, reason and _FAULT.format(directory=directory, reason=reason), bool(named))
    os.environ[VARIABLE] = str(directory)
    Slots(directory).clean()
    use_slots(directory)
    return Sharing(directory, is_named=bool(named))


def _why_not_writable(directory: Path) -> str:
    try:
        # with the mode that `octollm up` uses, since secrets will be stored beside the metrics
        directory.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        directory.mkdir(exist_ok=True)
        with NamedTemporaryFile(dir=directory, prefix=".try-"):
            pass
    except OSError as error:
        return error.strerror or type(error).__name__
    return ""


def use_slots(directory: Path) -> None:
    """Store the values of all metrics created from now on in `directory`, one set of files per slot.

    Call it before the first metric is created; PROMETHEUS_MULTIPROC_DIR must name the same directory.
    """
    values.ValueClass = values.MultiProcessValue(Slots(directory).own)  # type: ignore[no-untyped-call]  # theirs
