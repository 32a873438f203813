"""The basic sandbox: Landlock, a filter of system calls and limits, for machines without namespaces.

There is no view of files, processes or network of the tool's own: it is refused what is not its own. As root the
tool runs as a user that nothing else runs as. Otherwise it runs as the worker's user, and then chmod, chown and
utime do nothing, since Landlock does not rule them; before Landlock ABI 6 a tool may send no signals either.
"""

import os
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from workers.sandbox import account, deleted, landlock, orphans, readable, seccomp
from workers.sandbox.backend import LAUNCHER, Cell, Isolation, Start, Wires, common_facts, orders
from workers.sandbox.limits import Limits
from workers.sandbox.scratch import remove

_DEVICES = tuple(Path("/dev", name) for name in ("null", "zero", "full", "random", "urandom"))
_MAX_ENTRIES = 20_000


@dataclass(frozen=True)
class Kernel:
    """Starts tools under Landlock; `abi` is the kernel's, or an older one to be content with."""

    abi: int = field(default_factory=landlock.version)
    isolation: Isolation = Isolation.BASIC

    @contextmanager
    def cell(self, inputs: Path, limits: Limits) -> Iterator[Cell]:
        """Make a sandbox around `inputs`, a directory that only this tool reads.

        Raises SandboxUnavailable when that can't be done.
        """
        with ExitStack() as kept:
            scratch = Path(tempfile.mkdtemp(prefix=orphans.directory_prefix()))
            kept.callback(remove, scratch)
            user = kept.enter_context(account.lone_user())
            if user is not None:
                account.give_to_read(inputs, user.uid)
                os.chown(scratch, user.uid, user.uid)
            ruleset = landlock.ruleset(
                # symbolic links need no rule: they are followed, and their target is looked up
                readable=[*readable.system(), *readable.python().places, inputs, *_DEVICES],
                writable=[scratch, Path("/dev/null")],
                abi=self.abi,
            )
            kept.callback(os.close, ruleset)
            filtered = kept.enter_context(seccomp.compiled(self._rules(own_uid=user is not None)))
            yield _Confined(inputs, scratch, limits, user, ruleset, filtered)

    def facts(self, limits: Limits) -> dict[str, Any]:
        """Return what is limited, and whether for each process or for all of a tool."""
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

    def _rules(self, *, own_uid: bool) -> seccomp.Rules:
        return seccomp.Rules(
            sockets=False,
            own_uid=own_uid,
            signals=self.abi >= landlock.SIGNALS_SINCE,
            truncate=self.abi >= landlock.TRUNCATE_SINCE,
        )


@dataclass(frozen=True)
class _Confined:
    inputs: Path
    scratch: Path
    limits: Limits
    user: account.User | None
    ruleset: int
    filter: int

    def start(self, argv: Sequence[str], environment: Mapping[str, str], wires: Wires) -> Start:
        """Return the start of a keeper, which starts the tool and ends all that it leaves."""
        account.give_pipe(wires.report, self.user)
        more = {"keep": 1, "landlock": self.ruleset, "seccomp": self.filter}
        if self.user is None:
            # the kernel counts all processes of a user, ours too
            more["processes"] = self.limits.processes + _tasks_of(os.geteuid())
        else:
            # the keeper holds the lock too: when the worker dies nobody else is this user until all has ended
            more |= {"uid": self.user.uid, "lock": self.user.lock}
            needed = (*readable.python().places, self.scratch.parent)
            more |= {} if all(map(readable.is_open_to_all, needed)) else {"search": 1}
        inherited = [more[name] for name in ("landlock", "seccomp", "lock") if name in more]
        launch = (sys.executable, "-I", "-S", str(LAUNCHER), orphans.tag())
        return Start(
            argv=(*launch, orders(self.limits, wires, **more), *argv),
            environment={**environment, orphans.VARIABLE: orphans.tag()},
            directory=self.inputs,
            descriptors=(wires.go, wires.ready, wires.report, *inherited),
            is_keeper=True,
        )

    def memory_of_files(self, _pids: Sequence[int]) -> int:
        return 0

    def scratch_in_use(self, pids: Sequence[int]) -> int:
        """Return the bytes on disk in the scratch directory, with deleted files that a process keeps.

        More entries than a tool needs, and what can't be looked into, count as too many bytes.
        """
        # the first is the keeper, which is ours
        with account.seen_as(self.user):
            kept = deleted.bytes_kept(pids[1:], self.scratch, unseen_bytes=self.limits.file_bytes)
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
    """Return how many processes and threads run as a user."""
    count = 0
    for name in os.listdir("/proc"):
        try:
            if name.isdigit() and os.stat(f"/proc/{name}").st_uid == uid:
                count += len(os.listdir(f"/proc/{name}/task"))
        except OSError:
            continue
    return count
