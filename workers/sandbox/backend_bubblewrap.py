"""The strong sandbox: bubblewrap's namespaces, a system call filter, and a user of the tool's own.

See https://github.com/containers/bubblewrap. When the worker is root, no user namespace is made: bubblewrap mounts
what root may read, and the launcher changes to a user that no other process has before the tool starts.
"""

import os
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from workers.sandbox import cleanup, readable_files, seccomp, tool_users
from workers.sandbox.backend import (
    LAUNCHER,
    NETWORK_FILES,
    NO_ACCESS,
    Access,
    Cell,
    HandshakePipes,
    Isolation,
    SandboxStart,
    ToolLimits,
    common_facts,
    orders,
)

SCRATCH = Path("/tmp")  # noqa: S108 - inside the sandbox, where it is private to the tool
_LAUNCHER_INSIDE = Path("/launcher.py")
_SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - inside the sandbox, where it is private to the tool
_SHARED_MEMORY_BYTES = 32 * 1024**2
_NOBODY = 65_534
_RULES = seccomp.FilterRules(sockets=True, own_uid=True)


def program() -> str | None:
    """Return the path of the program bwrap, None when it is not in PATH."""
    return shutil.which("bwrap")


def _inputs_inside() -> Path:
    """Return /src, or /inputs when this Python itself lies below /src."""
    python = readable_files.python()
    taken = any(path.is_relative_to("/src") for path in (*python.places, *python.links))
    return Path("/inputs" if taken else "/src")


def _bytes_in(file_system: str) -> int:
    about = os.statvfs(file_system)
    return (about.f_blocks - about.f_bfree) * about.f_frsize


@dataclass(frozen=True)
class BubblewrapBackend:
    """Makes sandboxes with the program bwrap at `path`."""

    path: str
    isolation: Isolation = Isolation.STRONG

    @contextmanager
    def cell(self, inputs: Path, limits: ToolLimits, access: Access = NO_ACCESS) -> Iterator[Cell]:
        """Make a sandbox around `inputs`; raises SandboxUnavailable when that fails.

        A tool that may use what only the files' owner can runs as the worker's user, root too, in a user namespace
        and without capabilities.
        """
        own_user = nullcontext() if access.needs_owner else tool_users.exclusive_user()
        with own_user as user, seccomp.compiled(_RULES) as filtered:
            if user is not None:
                tool_users.let_read(inputs, user.uid)
                tool_users.lend(access.lent, user.uid)
            yield _Bubble(self.path, inputs, limits, user, filtered, access)

    def facts(self, limits: ToolLimits) -> dict[str, Any]:
        """Return each limit and whether it holds per process or for the whole tool."""
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
    limits: ToolLimits
    user: tool_users.ToolUser | None
    filter: int
    access: Access = NO_ACCESS
    inputs: Path = field(default_factory=_inputs_inside)
    scratch: Path = SCRATCH

    def scratch_in_use(self, _pids: Sequence[int]) -> int:
        return 0

    def memory_of_files(self, pids: Sequence[int]) -> int:
        """Return the bytes in the sandbox's tmpfs file systems, which include deleted files that are open."""
        # the first process is outside of the sandbox
        for pid in reversed(pids[1:]):
            try:
                return sum(_bytes_in(f"/proc/{pid}/root{place}") for place in (self.scratch, _SHARED_MEMORY))
            except OSError:
                continue
        return 0

    def start(
        self, argv: Sequence[str], environment: Mapping[str, str], pipes: HandshakePipes
    ) -> SandboxStart:
        """Return the start of bubblewrap. Its environment is empty, because a tool can read that of process 1."""
        become = {} if self.user is None else {"uid": self.user.uid}
        tool_users.give_pipe(pipes.report, self.user)
        launch = (sys.executable, "-I", "-S", str(_LAUNCHER_INSIDE), cleanup.tag())
        inside = {**environment, cleanup.VARIABLE: cleanup.tag()}
        variables = [word for name, value in inside.items() for word in ("--setenv", name, value)]
        return SandboxStart(
            argv=(
                self.path,
                *self._namespaces(),
                *self._files(),
                *variables,
                *("--seccomp", str(self.filter)),
                "--",
                *launch,
                orders(self.limits, pipes, **become),
                *argv,
            ),
            environment={},
            directory=Path("/"),
            descriptors=(pipes.go, pipes.ready, pipes.report, self.filter),
            is_keeper=False,
        )

    def _namespaces(self) -> list[str]:
        shared = ["--unshare-ipc", "--unshare-pid", "--unshare-uts", "--unshare-cgroup-try"]
        shared += [] if self.access.network else ["--unshare-net"]
        if self.user is None:
            user = ["--unshare-user", "--uid", str(_NOBODY), "--gid", str(_NOBODY), "--cap-drop", "ALL"]
        else:
            # the launcher drops them when it changes the user
            user = ["--cap-drop", "ALL", "--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"]
        return [*shared, *user, "--hostname", "sandbox", "--die-with-parent", "--new-session"]

    def _files(self) -> list[str]:
        python = readable_files.python()
        bound = (*readable_files.system(), *python.places, *python.links, *self.access.readable)
        network = tuple(path for path in NETWORK_FILES if self.access.network and path.exists())
        writable = (*self.access.writable, *self.access.lent)
        given = (*bound, *network, *writable)
        above = sorted({parent for path in given for parent in path.parents} - {Path("/"), SCRATCH, *given})
        bounded = ["--perms", "1777", "--size"]
        # first, because a virtualenv may lie below it
        words = [*bounded, str(self.limits.scratch_bytes), "--tmpfs", str(SCRATCH)]
        # by default bubblewrap makes them accessible to their owner only
        words += [word for path in above for word in ("--perms", "0755", "--dir", str(path))]
        for path in bound:
            if path.is_symlink():
                words += ["--symlink", str(path.readlink()), str(path)]
            else:
                words += ["--ro-bind", str(path), str(path)]
        # of a link the target is bound: it may lie in a directory that is not
        words += [word for path in network for word in ("--ro-bind", str(path), str(path))]
        words += [word for path in writable for word in ("--bind", str(path), str(path))]
        return [
            *words,
            *("--proc", "/proc", "--dev", "/dev"),
            *(*bounded, str(_SHARED_MEMORY_BYTES), "--tmpfs", str(_SHARED_MEMORY)),
            *("--ro-bind", str(LAUNCHER), str(_LAUNCHER_INSIDE)),
            *("--ro-bind", str(self.host_inputs), str(self.inputs), "--chdir", str(self.inputs)),
            # both are file systems in memory without a size limit
            *("--remount-ro", "/dev", "--remount-ro", "/"),
        ]
