"""The account Postgres runs under: it refuses root, so root lends it another one."""

import hashlib
import os
import pwd
import shutil
import stat
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.models.errors import SettingsError


@dataclass(frozen=True, slots=True)
class Account:
    """How to run a command: with a prefix, as another user, or as it stands."""

    prefix: tuple[str, ...] = ()
    user: str | None = None

    def argv(self, command: Sequence[str]) -> list[str]:
        """Return the command to start."""
        return [*self.prefix, *command]

    @property
    def options(self) -> dict[str, Any]:
        """Return what subprocess needs to start it under this account."""
        if self.user is None:
            return {}
        record = pwd.getpwnam(self.user)
        return {"user": record.pw_uid, "group": record.pw_gid, "extra_groups": [], "cwd": "/"}

    def room(self, wanted: Path) -> Path:
        """Make and return a directory, `wanted` if possible, in which this account may make files.

        Another user can't enter root's directories, so its room lies under /var/tmp, named after `wanted`.
        """
        if self.user is None:
            wanted.mkdir(mode=0o700, parents=True, exist_ok=True)
            return wanted
        name = hashlib.sha256(str(wanted.resolve()).encode()).hexdigest()[:16]
        room = Path("/var/tmp") / f"octollm-{name}"  # noqa: S108  ownership is checked below
        room.mkdir(mode=0o711, exist_ok=True)
        record = room.lstat()
        if not stat.S_ISDIR(record.st_mode) or record.st_uid != os.geteuid():
            raise SettingsError(f"{room} is not ours: remove it, or set DATABASE_URL to a Postgres that runs")
        return room

    def own(self, path: Path) -> None:
        """Give `path` to this account."""
        if self.user is not None:
            shutil.chown(path, self.user, pwd.getpwnam(self.user).pw_gid)

    def reachable(self, binaries: Path, *, room: Path) -> Path:
        """Return binaries this account can execute: these, or a copy in `room`."""
        if self.user is None or self._can_run(binaries):
            return binaries
        copy = room / "install"
        if not copy.exists():
            shutil.copytree(binaries.parent, copy, symlinks=True)
        return copy / binaries.name

    def _can_run(self, binaries: Path) -> bool:
        try:
            done = subprocess.run(
                [binaries / "postgres", "--version"], check=False, capture_output=True, **self.options
            )
        except PermissionError:
            return False
        return done.returncode == 0


def choose(*, may_unshare: bool = True) -> Account:
    """Return the account for Postgres: our own, unless we are root.

    In a user namespace without a mapping (`unshare -U`) root counts as nobody and the files stay root's;
    where the kernel or a container forbids that, it is the user nobody.
    """
    if os.geteuid() != 0:
        return Account()
    if may_unshare and _can_unshare():
        return Account(prefix=("unshare", "-U"))
    return Account(user="nobody")


def _can_unshare() -> bool:
    try:
        done = subprocess.run(["unshare", "-U", "true"], check=False, capture_output=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0
