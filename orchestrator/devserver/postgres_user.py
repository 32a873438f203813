"""The operating-system user that Postgres runs as: Postgres refuses root, so root needs another one."""

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
class PostgresUser:
    """How to run a program of Postgres: as ourselves, with a command prefix, or as another user."""

    prefix: tuple[str, ...] = ()
    user: str | None = None

    def argv(self, command: Sequence[str]) -> list[str]:
        """Return `command` with the prefix."""
        return [*self.prefix, *command]

    @property
    def popen_options(self) -> dict[str, Any]:
        """Return the options of subprocess that start a program as this user."""
        if self.user is None:
            return {}
        record = pwd.getpwnam(self.user)
        return {"user": record.pw_uid, "group": record.pw_gid, "extra_groups": [], "cwd": "/"}

    def make_directory(self, wanted: Path) -> Path:
        """Make and return a directory that this user can write to: `wanted` if possible.

        Another user can't enter root's directories; for one it is under /var/tmp, with a name derived from `wanted`.
        """
        if self.user is None:
            wanted.mkdir(mode=0o700, parents=True, exist_ok=True)
            return wanted
        name = hashlib.sha256(str(wanted.resolve()).encode()).hexdigest()[:16]
        directory = Path("/var/tmp") / f"octollm-{name}"  # noqa: S108  ownership is checked below
        directory.mkdir(mode=0o711, exist_ok=True)
        record = directory.lstat()
        if not stat.S_ISDIR(record.st_mode) or record.st_uid != os.geteuid():
            raise SettingsError(
                f"{directory} belongs to another user: remove it, or set DATABASE_URL to a running Postgres"
            )
        return directory

    def give(self, path: Path) -> None:
        """Make this user the owner of `path`."""
        if self.user is not None:
            shutil.chown(path, self.user, pwd.getpwnam(self.user).pw_gid)

    def executable(self, binaries: Path, *, directory: Path) -> Path:
        """Return `binaries` if this user can execute them, else a copy in `directory`."""
        if self.user is None or self._can_run(binaries):
            return binaries
        copy = directory / "install"
        if not copy.exists():
            shutil.copytree(binaries.parent, copy, symlinks=True)
        return copy / binaries.name

    def _can_run(self, binaries: Path) -> bool:
        try:
            done = subprocess.run(
                [binaries / "postgres", "--version"], check=False, capture_output=True, **self.popen_options
            )
        except PermissionError:
            return False
        return done.returncode == 0


def choose(*, may_unshare: bool = True) -> PostgresUser:
    """Return the user for Postgres: ourselves, unless we are root.

    In a user namespace without a mapping (`unshare -U`) root appears as nobody and the files stay root's. If the
    kernel or a container forbids that, it is the user nobody.
    """
    if os.geteuid() != 0:
        return PostgresUser()
    if may_unshare and _can_unshare():
        return PostgresUser(prefix=("unshare", "-U"))
    return PostgresUser(user="nobody")


def _can_unshare() -> bool:
    try:
        done = subprocess.run(["unshare", "-U", "true"], check=False, capture_output=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0
