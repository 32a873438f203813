"""The strong sandbox: bubblewrap's namespaces around a tool, a filter of system calls, a user of its own.

https://github.com/containers/bubblewrap. As root no user namespace is made: bubblewrap mounts what root may read,
and the launcher becomes a user that nothing else runs as before the tool starts.
"""

import os
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from workers.sandbox import account, orphans, readable, seccomp
from workers.sandbox.backend import LAUNCHER, Cell, Isolation, Start, Wires, common_facts, orders
from workers.sandbox.limits import Limits

SCRATCH = Path("/tmp")  # noqa: S108 - inside the sandbox, where it is the tool's alone
_LAUNCHER_INSIDE = Path("/launch.py")
_SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - inside the sandbox, where it is the tool's alone
_SHARED_MEMORY_BYTES = 32 * 1024**2
_NOBODY = 65_534
_RULES = seccomp.Rules(sockets=True, own_uid=True)


def program() -> str | None:
    """Return the path of bubblewrap's program, None when PATH has none."""
    return shutil.which("bwrap")


def _inputs_inside() -> Path:
    """Return /src, or another place where this Python itself lies below /src."""
    python = readable.python()
    taken = any(path.is_relative_to("/src") for path in (*python.places, *python.links))
    return Path("/inputs" if taken else "/src")


def _bytes_in(file_system: str) -> int:
    about = os.statvfs(file_system)
    return (about.f_blocks - about.f_bfree) * about.f_frsize


@dataclass(frozen=True)
class Bubblewrap:
    """Starts tools with the bubblewrap program at `path`."""

    path: str
    isolation: Isolation = Isolation.STRONG

    @contextmanager
    def cell(self, inputs: Path, limits: Limits) -> Iterator[Cell]:
        """Make a sandbox around `inputs`; raises SandboxUnavailable when that can't be done."""
        with account.lone_user() as user, seccomp.compiled(_RULES) as filtered:
            if user is not None:
                account.give_to_read(inputs, user.uid)
            yield _Bubble(self.path, inputs, limits, user, filtered)

    def facts(self, limits: Limits) -> dict[str, Any]:
        """Return what is limited, and whether for each process or for all of a tool."""
        return {
            **common_facts(limits),
            "processes": {"at_most": limits.processes, "per": "tree", "how": "kernel"},
            "scratch_bytes": {"at_most": limits.scratch_bytes, "per": "tree", "how": "tmpfs"},
            "network": "its own, empty",
            "process_ids": "its own",
        }


@dataclass(frozen=True)
class _Bubble:
    path: str
    host_inputs: Path
    limits: Limits
    user: account.User | None
    filter: int
    inputs: Path = field(default_factory=_inputs_inside)
    scratch: Path = SCRATCH

    def scratch_in_use(self, _pids: Sequence[int]) -> int:
        return 0

    def memory_of_files(self, pids: Sequence[int]) -> int:
        """Return what lies in the sandbox's file systems in memory, deleted files that are open included."""
        # the first stands outside
        for pid in reversed(pids[1:]):
            try:
                return sum(_bytes_in(f"/proc/{pid}/root{place}") for place in (self.scratch, _SHARED_MEMORY))
            except OSError:
                continue
        return 0

    def start(self, argv: Sequence[str], environment: Mapping[str, str], wires: Wires) -> Start:
        """Return the start of bubblewrap with nothing in its environment: a tool can read that of process 1."""
        become = {} if self.user is None else {"uid": self.user.uid}
        account.give_pipe(wires.report, self.user)
        launch = (sys.executable, "-I", "-S", str(_LAUNCHER_INSIDE), orphans.tag())
        inside = {**environment, orphans.VARIABLE: orphans.tag()}
        variables = [word for name, value in inside.items() for word in ("--setenv", name, value)]
        return Start(
            argv=(
                self.path,
                *self._namespaces(),
                *self._files(),
                *variables,
                *("--seccomp", str(self.filter)),
                "--",
                *launch,
                orders(self.limits, wires, **become),
                *argv,
            ),
            environment={},
            directory=Path("/"),
            descriptors=(wires.go, wires.ready, wires.report, self.filter),
            is_keeper=False,
        )

    def _namespaces(self) -> list[str]:
        shared = ["--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts", "--unshare-cgroup-try"]
        if self.user is None:
            user = ["--unshare-user", "--uid", str(_NOBODY), "--gid", str(_NOBODY), "--cap-drop", "ALL"]
        else:
            # the launcher gives them up when it becomes the user
            user = ["--cap-drop", "ALL", "--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"]
        return [*shared, *user, "--hostname", "sandbox", "--die-with-parent", "--new-session"]

    def _files(self) -> list[str]:
        python = readable.python()
        bound = (*readable.system(), *python.places, *python.links)
        above = sorted({parent for path in bound for parent in path.parents} - {Path("/"), SCRATCH, *bound})
        bounded = ["--perms", "1777", "--size"]
        # first of all: a virtualenv may lie below it
        words = [*bounded, str(self.limits.scratch_bytes), "--tmpfs", str(SCRATCH)]
        # bubblewrap itself makes them for their owner only
        words += [word for path in above for word in ("--perms", "0755", "--dir", str(path))]
        for path in bound:
            if path.is_symlink():
                words += ["--symlink", str(path.readlink()), str(path)]
            else:
                words += ["--ro-bind", str(path), str(path)]
        return [
            *words,
            *("--proc", "/proc", "--dev", "/dev"),
            *(*bounded, str(_SHARED_MEMORY_BYTES), "--tmpfs", str(_SHARED_MEMORY)),
            *("--ro-bind", str(LAUNCHER), str(_LAUNCHER_INSIDE)),
            *("--ro-bind", str(self.host_inputs), str(self.inputs), "--chdir", str(self.inputs)),
            # both are file systems in memory, without a bound of their own
            *("--remount-ro", "/dev", "--remount-ro", "/"),
        ]
