"""The basic sandbox: Landlock, a system call filter and limits, for machines without namespaces.

The tool has no separate view of files, processes or network: access to what is not its own is refused. When the
worker is root, the tool runs as a user that no other process has. Otherwise it runs as the worker's user; then chmod,
chown and utime have no effect, since Landlock does not cover them, and before Landlock ABI 6 signals are refused.
"""

import os
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from orchestrator.models.errors import SandboxUnavailable
from workers.sandbox import cleanup, landlock, process_usage, readable_files, seccomp, tool_users
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

_DEVICES = tuple(Path("/dev", name) for name in ("null", "zero", "full", "random", "urandom"))
_MAX_ENTRIES = 20_000


@dataclass(frozen=True)
class LandlockBackend:
    """Makes sandboxes with Landlock; `abi` is the ABI version to use, by default the kernel's."""

    abi: int = field(default_factory=landlock.version)
    isolation: Isolation = Isolation.BASIC

    @contextmanager
    def cell(self, inputs: Path, limits: ToolLimits, access: Access = NO_ACCESS) -> Iterator[Cell]:
        """Make a sandbox around `inputs`, a directory that no other tool reads.

        Raises SandboxUnavailable when that fails, when root would let a tool write: it runs as a user of its own, and
        when a port is to be let through and the kernel's Landlock can't.
        """
        if access.port and self.abi < landlock.NETWORK_SINCE:
            raise SandboxUnavailable(
                "this sandbox can't let a tool reach the package index: use Linux 6.7 or newer, or install bubblewrap"
            )
        if access.writable and os.geteuid() == 0:
            raise SandboxUnavailable(
                f"this sandbox can't let a tool of root's worker write {access.writable[0]}: start the workers as an "
                "ordinary user who may write it, or install bubblewrap"
            )
        with ExitStack() as kept:
            scratch = Path(tempfile.mkdtemp(prefix=cleanup.directory_prefix()))
            kept.callback(cleanup.remove, scratch)
            user = kept.enter_context(tool_users.exclusive_user())
            if user is not None:
                tool_users.let_read(inputs, user.uid)
                tool_users.lend(access.lent, user.uid)
                os.chown(scratch, user.uid, user.uid)
            ruleset = landlock.ruleset(
                # symbolic links need no rule: the kernel checks their target
                readable=[
                    *readable_files.system(),
                    *readable_files.python().places,
                    inputs,
                    *_DEVICES,
                    *access.readable,
                    *(path for path in NETWORK_FILES if access.network and path.exists()),
                ],
                writable=[scratch, Path("/dev/null"), *access.writable, *access.lent],
                abi=self.abi,
                network=access.network,
                port=access.port,
            )
            kept.callback(os.close, ruleset)
            rules = self._rules(access, own_uid=user is not None)
            filtered = kept.enter_context(seccomp.compiled(rules))
            yield _Confined(inputs, scratch, limits, user, ruleset, filtered, access)

    def facts(self, limits: ToolLimits) -> dict[str, Any]:
        """Return each limit and whether it holds per process or for the whole tool."""
        shared = os.geteuid() != 0
        return {
            **common_facts(limits),
            "processes": {
                "at_most": limits.processes,
                "per": "tree",
                "how": "sampled" if shared else "kernel",
            },
            "scratch_bytes": {"at_most": limits.scratch_bytes, "per": "tree", "how": "sampled"},
            "network": "no sockets",
            "process_ids": "the machine's",
            "landlock_abi": self.abi,
            "user": "the worker's" if shared else "its own",
        }

    def _rules(self, access: Access, *, own_uid: bool) -> seccomp.FilterRules:
        return seccomp.FilterRules(
            sockets=access.network,
            tcp=bool(access.port),
            own_uid=own_uid,
            signals=self.abi >= landlock.SIGNALS_SINCE,
            truncate=self.abi >= landlock.TRUNCATE_SINCE,
        )


@dataclass(frozen=True)
class _Confined:
    inputs: Path
    scratch: Path
    limits: ToolLimits
    user: tool_users.ToolUser | None
    ruleset: int
    filter: int
    access: Access = NO_ACCESS

    def start(
        self, argv: Sequence[str], environment: Mapping[str, str], pipes: HandshakePipes
    ) -> SandboxStart:
        """Return the start of a keeper, which starts the tool and ends every process that the tool leaves."""
        tool_users.give_pipe(pipes.report, self.user)
        more = {"keep": 1, "landlock": self.ruleset, "seccomp": self.filter}
        if self.user is None:
            # the kernel counts all processes of the user, which include ours
            more["processes"] = self.limits.processes + _tasks_of(os.geteuid())
        else:
            # the keeper holds the lock, too: when the worker dies, the user stays reserved until all processes end
            more |= {"uid": self.user.uid, "lock": self.user.lock}
            needed = (*readable_files.python().places, self.scratch.parent)
            reached = all(
                map(readable_files.is_open_to_all, (*needed, *self.access.readable, *self.access.lent))
            )
            more |= {} if reached and not self.access.needs_owner else {"search": 1}
        inherited = [more[name] for name in ("landlock", "seccomp", "lock") if name in more]
        launch = (sys.executable, "-I", "-S", str(LAUNCHER), cleanup.tag())
        return SandboxStart(
            argv=(*launch, orders(self.limits, pipes, **more), *argv),
            environment={**environment, cleanup.VARIABLE: cleanup.tag()},
            directory=self.inputs,
            descriptors=(pipes.go, pipes.ready, pipes.report, *inherited),
            is_keeper=True,
        )

    def memory_of_files(self, _pids: Sequence[int]) -> int:
        return 0

    def scratch_in_use(self, pids: Sequence[int]) -> int:
        """Return the bytes on disk in the scratch directory, including deleted files that a process keeps open.

        Returns more than the limit for too many entries, and for a directory that can't be read.
        """
        # the first process is our keeper
        with tool_users.acting_as(self.user):
            kept = process_usage.deleted_bytes(pids[1:], self.scratch, unseen_bytes=self.limits.file_bytes)
        return self.limits.scratch_bytes + 1 if kept is None else kept + self._named_bytes()

    def _named_bytes(self) -> int:
        total = entries = 0
        pending = [os.fspath(self.scratch)]
        while pending:
            try:
                with os.scandir(pending.pop()) as found:
                    for entry in found:
                        entries += 1
                        total += entry.stat(follow_symlinks=False).st_blocks * 512
                        if entry.is_dir(follow_symlinks=False):
                            pending.append(entry.path)
            except (FileNotFoundError, NotADirectoryError):
                continue
            except OSError:
                return self.limits.scratch_bytes + 1
            if entries > _MAX_ENTRIES:
                return self.limits.scratch_bytes + 1
        return total


def _tasks_of(uid: int) -> int:
    """Return the number of threads of all processes of a user."""
    count = 0
    for name in os.listdir("/proc"):
        try:
            if name.isdigit() and os.stat(f"/proc/{name}").st_uid == uid:
                count += len(os.listdir(f"/proc/{name}/task"))
        except OSError:
            continue
    return count
