"""Chooses the strongest sandbox that holds on this machine, or says why there is none and what to do."""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from orchestrator.models.errors import SandboxUnavailable
from workers.sandbox import bubblewrap, landlock, probe, seccomp
from workers.sandbox.backend import Backend, Cell, Isolation
from workers.sandbox.kernel import Kernel
from workers.sandbox.limits import Limits

MEND_STRONG = (
    "install bubblewrap (Debian, Ubuntu: apt-get install bubblewrap), and let it make namespaces: on Ubuntu from 23.10 "
    "by an AppArmor profile for bwrap, in a container by its seccomp and AppArmor profiles"
)
MEND_ANY = "use Linux 5.13 or newer with Landlock on x86_64 or aarch64, or " + MEND_STRONG


@dataclass(frozen=True)
class Sandbox:
    """A sandbox that holds, with the limits for tools in it."""

    backend: Backend
    limits: Limits = field(default_factory=Limits)

    @contextmanager
    def cell(self, inputs: Path) -> Iterator[Cell]:
        """Make a sandbox around `inputs`, a directory that only this tool reads."""
        with self.backend.cell(inputs, self.limits) as cell:
            yield cell

    def facts(self) -> Mapping[str, Any]:
        """Return what is limited, and whether for each process or for all of a tool."""
        return self.backend.facts(self.limits)


@dataclass(frozen=True)
class Standing:
    """How tools are kept apart on this machine; without a `sandbox`, why not (`reason`) and what to do (`mend`).

    `passed_over` says of each stronger kind why it is not used.
    """

    sandbox: Sandbox | None
    passed_over: Sequence[str] = ()
    reason: str = ""
    mend: str = ""

    @property
    def isolation(self) -> Isolation:
        """Return how strong the sandbox is; NONE: nothing may run."""
        return Isolation.NONE if self.sandbox is None else self.sandbox.backend.isolation

    @property
    def told(self) -> str:
        """Return why there is no sandbox and what to do, as a sentence each."""
        return f"{self.reason}. To mend it, {self.mend}."

    def use(self) -> Sandbox:
        """Return the sandbox; raises SandboxUnavailable with the reason and what to do."""
        if self.sandbox is None:
            raise SandboxUnavailable(self.told, details={"reason": self.reason, "mend": self.mend})
        return self.sandbox


NOT_TESTED = Standing(
    None, reason="this worker has not tested its sandbox", mend="start it by a line of the Procfile"
)


def strongest(least: Isolation) -> Standing:
    """Test each kind of sandbox of this machine, the strongest first; none below `least` is used."""
    passed_over: list[str] = []
    for isolation in (Isolation.STRONG, Isolation.BASIC):
        backend = backend_of(isolation)
        if isinstance(backend, str):
            passed_over.append(f"{isolation}: {backend}")
        elif trouble := probe.trouble(backend):
            passed_over.append(f"{isolation}: {trouble}")
        else:
            return _standing(Sandbox(backend), least, passed_over)
    return Standing(None, passed_over, "no sandbox holds here: " + "; ".join(passed_over), MEND_ANY)


def backend_of(isolation: Isolation) -> Backend | str:
    """Return the kind of sandbox of that strength, or what it lacks here."""
    if not seccomp.is_supported():
        return "it is made for Linux on x86_64 or aarch64"
    if isolation is Isolation.STRONG:
        program = bubblewrap.program()
        return "bubblewrap is not installed" if program is None else bubblewrap.Bubblewrap(program)
    if not Path(f"/proc/self/task/{os.getpid()}/children").exists():
        return "/proc does not list children, so that not all of a tool could be ended"
    abi = landlock.version()
    return "the kernel has no Landlock" if abi < 1 else Kernel(abi)


def _standing(sandbox: Sandbox, least: Isolation, passed_over: Sequence[str]) -> Standing:
    found = sandbox.backend.isolation
    if found.is_at_least(least):
        return Standing(sandbox, passed_over, mend=MEND_STRONG if passed_over else "")
    reason = f"EXECUTOR_MIN_ISOLATION is {least}, and only {found} holds here: {'; '.join(passed_over)}"
    return Standing(None, passed_over, reason, MEND_STRONG)
