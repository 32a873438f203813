"""Selects the strongest sandbox that works on this machine, or reports why none does and how to fix it."""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from orchestrator.models.errors import SandboxUnavailable
from workers.sandbox.backend import NO_ACCESS, Access, Backend, Cell, Isolation, ToolLimits

FIX_STRONG = (
    "install bubblewrap (Debian, Ubuntu: apt-get install bubblewrap), and let it make namespaces: on Ubuntu from 23.10 "
    "by an AppArmor profile for bwrap, in a container by its seccomp and AppArmor profiles"
)
FIX_ANY = "use Linux 5.13 or newer with Landlock on x86_64 or aarch64, or " + FIX_STRONG


@dataclass(frozen=True)
class Sandbox:
    """A sandbox that passed its test, with the limits for tools in it."""

    backend: Backend
    limits: ToolLimits = field(default_factory=ToolLimits)

    @contextmanager
    def cell(self, inputs: Path, access: Access = NO_ACCESS) -> Iterator[Cell]:
        """Make a sandbox around `inputs`, a directory that no other tool reads."""
        with self.backend.cell(inputs, self.limits, access) as cell:
            yield cell

    def facts(self) -> Mapping[str, Any]:
        """Return each limit and whether it holds per process or for the whole tool."""
        return self.backend.facts(self.limits)


@dataclass(frozen=True)
class SandboxStatus:
    """How tools are isolated on this machine; without a `sandbox`, the `reason` and how to `fix` it.

    `passed_over` gives the reason for each stronger kind that is not used.
    """

    sandbox: Sandbox | None
    passed_over: Sequence[str] = ()
    reason: str = ""
    fix: str = ""

    @property
    def isolation(self) -> Isolation:
        """Return how strong the sandbox is; NONE: no tool may run."""
        return Isolation.NONE if self.sandbox is None else self.sandbox.backend.isolation

    @property
    def explanation(self) -> str:
        """Return why there is no sandbox and how to fix it, in one sentence each."""
        return f"{self.reason}. To fix it, {self.fix}."

    def require(self) -> Sandbox:
        """Return the sandbox; raises SandboxUnavailable with the reason and how to fix it."""
        if self.sandbox is None:
            raise SandboxUnavailable(self.explanation, details={"reason": self.reason, "mend": self.fix})
        return self.sandbox


NOT_TESTED = SandboxStatus(
    None, reason="this worker has not tested its sandbox", fix="start it by a line of the Procfile"
)


def select_sandbox(minimum: Isolation) -> SandboxStatus:
    """Test each kind of sandbox of this machine, the strongest first; use none below `minimum`."""
    from workers.sandbox import probe  # noqa: PLC0415 - most workers have no tools

    passed_over: list[str] = []
    for isolation in (Isolation.STRONG, Isolation.BASIC):
        backend = backend_of(isolation)
        if isinstance(backend, str):
            passed_over.append(f"{isolation}: {backend}")
        elif fault := probe.failure(backend):
            passed_over.append(f"{isolation}: {fault}")
        else:
            return _status(Sandbox(backend), minimum, passed_over)
    return SandboxStatus(None, passed_over, "no sandbox works here: " + "; ".join(passed_over), FIX_ANY)


def backend_of(isolation: Isolation) -> Backend | str:
    """Return the kind of sandbox of that strength, or why this machine has none."""
    from workers.sandbox import backend_bubblewrap, backend_landlock, landlock, seccomp  # noqa: PLC0415

    if not seccomp.is_supported():
        return "it needs Linux on x86_64 or aarch64"
    if isolation is Isolation.STRONG:
        program = backend_bubblewrap.program()
        return (
            "bubblewrap is not installed"
            if program is None
            else backend_bubblewrap.BubblewrapBackend(program)
        )
    if not Path(f"/proc/self/task/{os.getpid()}/children").exists():
        return "/proc does not list children, so that not all processes of a tool could be ended"
    abi = landlock.version()
    return "the kernel has no Landlock" if abi < 1 else backend_landlock.LandlockBackend(abi)


def _status(sandbox: Sandbox, minimum: Isolation, passed_over: Sequence[str]) -> SandboxStatus:
    found = sandbox.backend.isolation
    if found.is_at_least(minimum):
        return SandboxStatus(sandbox, passed_over, fix=FIX_STRONG if passed_over else "")
    reason = f"EXECUTOR_MIN_ISOLATION is {minimum}, and only {found} works here: {'; '.join(passed_over)}"
    return SandboxStatus(None, passed_over, reason, FIX_STRONG)
