"""What a kind of sandbox offers: how strong it is, whether it can be had, and how a tool is started in it."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol

from workers.sandbox.limits import Limits

LAUNCHER = Path(__file__).with_name("launch.py")
REPORT = Path("/proc/self/fd/3")
"""Where a tool writes its report: a pipe that the worker reads, so that no file comes out of a sandbox."""


class Isolation(StrEnum):
    """How far a tool is kept from everything else."""

    NONE = "none"
    BASIC = "basic"
    STRONG = "strong"

    def is_at_least(self, other: "Isolation") -> bool:
        """Tell whether this is as strong as `other`, or stronger."""
        levels = list(Isolation)
        return levels.index(self) >= levels.index(other)


@dataclass(frozen=True)
class Wires:
    """Descriptors that go in with a tool: it says that it is ready, waits for go, and writes a report."""

    go: int
    ready: int
    report: int


@dataclass(frozen=True)
class Start:
    """How the first process of a sandbox is started: all that it gets, and nothing of ours.

    `is_keeper`: it ends all of the sandbox itself when `Wires.go` is closed; else its one child is the first
    process of a namespace.
    """

    argv: tuple[str, ...]
    environment: Mapping[str, str]
    directory: Path
    descriptors: tuple[int, ...]
    is_keeper: bool


class Cell(Protocol):
    """One sandbox around one directory of inputs; paths are those that the tool sees."""

    @property
    def inputs(self) -> Path:
        """Return where the inputs lie, read-only."""
        ...

    @property
    def scratch(self) -> Path:
        """Return the one directory that can be written."""
        ...

    def start(self, argv: Sequence[str], environment: Mapping[str, str], wires: Wires) -> Start:
        """Return how to start `argv` with `environment` alone."""
        ...

    def scratch_in_use(self, pids: Sequence[int]) -> int:
        """Return how many bytes the processes keep in the scratch directory, where nothing else bounds them; else 0."""
        ...

    def memory_of_files(self, pids: Sequence[int]) -> int:
        """Return how many bytes of memory the files of the processes take, where they lie in memory; else 0."""
        ...


class Backend(Protocol):
    """A kind of sandbox on this machine."""

    @property
    def isolation(self) -> Isolation:
        """Return how strong it is."""
        ...

    def cell(self, inputs: Path, limits: Limits) -> AbstractContextManager[Cell]:
        """Make a sandbox around `inputs`; raises SandboxUnavailable when that can't be done."""
        ...

    def facts(self, limits: Limits) -> dict[str, Any]:
        """Return what is limited, and whether for each process or for all of a tool, for the provenance."""
        ...


def orders(limits: Limits, wires: Wires, **more: int) -> str:
    """Return the launcher's orders for one tool."""
    numbers = {
        "go": wires.go,
        "ready": wires.ready,
        "report": wires.report,
        "cpu": limits.cpu_seconds,
        "memory": limits.memory_bytes,
        "file": limits.file_bytes,
        "files": limits.open_files,
        "processes": limits.processes,
        **more,
    }
    return ",".join(f"{name}={number}" for name, number in numbers.items())


def common_facts(limits: Limits) -> dict[str, Any]:
    """Return the limits that every kind of sandbox sets in the same way."""
    return {
        "wall_seconds": limits.wall_seconds,
        "output_bytes": limits.output_bytes,
        "cpu_seconds": {"at_most": limits.cpu_seconds, "per": "process"},
        "memory_bytes": {"at_most": limits.memory_bytes, "per": "process"},
        "tree_memory_bytes": {"at_most": limits.tree_memory_bytes, "per": "tree", "how": "sampled"},
        "shared_memory": "counted; without a file refused",
        "file_bytes": {"at_most": limits.file_bytes, "per": "process"},
        "open_files": {"at_most": limits.open_files, "per": "process"},
    }
