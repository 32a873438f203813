"""The interface of a kind of sandbox: how strong it is, what limits it sets, and how a tool is started in it."""

import stat
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol

MEBIBYTE = 1024**2
LAUNCHER = Path(__file__).with_name("inside") / "launcher.py"
REPORT = Path("/proc/self/fd/3")
"""Where a tool writes its report: a pipe that the worker reads, so that a tool writes no file outside of it."""


class Isolation(StrEnum):
    """How strongly a tool is isolated from the rest of the machine."""

    NONE = "none"
    BASIC = "basic"
    STRONG = "strong"

    def is_at_least(self, other: "Isolation") -> bool:
        """Return whether this is as strong as `other`, or stronger."""
        levels = list(Isolation)
        return levels.index(self) >= levels.index(other)


@dataclass(frozen=True)
class ToolLimits:
    """What one tool may use: the first four limits hold for each process, the rest for all its processes together.

    `memory_bytes` is address space. `tree_memory_bytes` is the memory that all processes hold, sampled several times
    a second. Of each stream the first `output_bytes` are kept; a tool that writes more than `flood_factor` times as
    much is killed.
    """

    cpu_seconds: int = 120
    memory_bytes: int = 2048 * MEBIBYTE
    file_bytes: int = 64 * MEBIBYTE
    open_files: int = 256
    processes: int = 64
    tree_memory_bytes: int = 1024 * MEBIBYTE
    scratch_bytes: int = 256 * MEBIBYTE
    wall_seconds: float = 600.0
    output_bytes: int = MEBIBYTE
    report_bytes: int = 8 * MEBIBYTE
    flood_factor: int = 16


@dataclass(frozen=True)
class Access:
    """What an operator lets a tool reach besides its inputs, its scratch directory and the system's programs.

    These are real paths of files or directories. A `lent` directory becomes the tool's own where the tool has a user of
    its own; the caller takes it back (`tool_users.take_back`). `network`: it may open connections to other machines.
    `port`: it may connect to this port only, where the sandbox has no network of its own.
    """

    readable: tuple[Path, ...] = ()
    writable: tuple[Path, ...] = ()
    lent: tuple[Path, ...] = ()
    network: bool = False
    port: int = 0

    @property
    def needs_owner(self) -> bool:
        """Return whether only a process of the files' owner can use them, so that the tool must be one."""
        return bool(self.writable) or not all(map(_is_readable_by_all, self.readable))


NO_ACCESS = Access()
NETWORK_FILES = tuple(
    Path("/etc", name) for name in ("hosts", "nsswitch.conf", "resolv.conf", "ssl/certs", "ca-certificates")
)
"""What a program needs to find other machines and to check their certificates."""


@dataclass(frozen=True)
class HandshakePipes:
    """Descriptors that a sandbox inherits: it reports that it is ready, waits for `go`, and writes a report."""

    go: int
    ready: int
    report: int


@dataclass(frozen=True)
class SandboxStart:
    """How the first process of a sandbox is started; it inherits nothing but this.

    `is_keeper`: the process ends the whole sandbox when `HandshakePipes.go` is closed. Otherwise its only child is the
    first process of a pid namespace.
    """

    argv: tuple[str, ...]
    environment: Mapping[str, str]
    directory: Path
    descriptors: tuple[int, ...]
    is_keeper: bool


class Cell(Protocol):
    """One sandbox around one directory of inputs; all paths are as the tool sees them."""

    @property
    def inputs(self) -> Path:
        """Return the directory of the inputs, which is read-only."""
        ...

    @property
    def scratch(self) -> Path:
        """Return the one writable directory."""
        ...

    def start(
        self, argv: Sequence[str], environment: Mapping[str, str], pipes: HandshakePipes
    ) -> SandboxStart:
        """Return how to start `argv` with `environment` and nothing else in its environment."""
        ...

    def scratch_in_use(self, pids: Sequence[int]) -> int:
        """Return the bytes that the processes keep in the scratch directory; 0 when a file system limits them."""
        ...

    def memory_of_files(self, pids: Sequence[int]) -> int:
        """Return the bytes of memory that the processes' files use; 0 when files are not kept in memory."""
        ...


class Backend(Protocol):
    """One kind of sandbox on this machine."""

    @property
    def isolation(self) -> Isolation:
        """Return how strong it is."""
        ...

    def cell(
        self, inputs: Path, limits: ToolLimits, access: Access = NO_ACCESS
    ) -> AbstractContextManager[Cell]:
        """Make a sandbox around `inputs`; raises SandboxUnavailable when that fails, or can't give the access."""
        ...

    def facts(self, limits: ToolLimits) -> dict[str, Any]:
        """Return each limit and whether it holds per process or for the whole tool, for the provenance."""
        ...


def _is_readable_by_all(path: Path) -> bool:
    needed = stat.S_IROTH | stat.S_IXOTH if path.is_dir() else stat.S_IROTH
    return path.stat().st_mode & needed == needed


def orders(limits: ToolLimits, pipes: HandshakePipes, **more: int) -> str:
    """Return the launcher's orders for one tool: NAME=NUMBER pairs joined by commas."""
    numbers = {
        "go": pipes.go,
        "ready": pipes.ready,
        "report": pipes.report,
        "cpu": limits.cpu_seconds,
        "memory": limits.memory_bytes,
        "file": limits.file_bytes,
        "files": limits.open_files,
        "processes": limits.processes,
        **more,
    }
    return ",".join(f"{name}={number}" for name, number in numbers.items())


def common_facts(limits: ToolLimits) -> dict[str, Any]:
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
