"""Unprivileged users for tools when the worker is root: each tool runs as a user that no other process has."""

import ctypes
import fcntl
import os
import stat
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from orchestrator.models.errors import SandboxUnavailable

# unused on systemd machines, and mapped in containers: https://systemd.io/UIDS-GIDS/
FIRST, LAST = 60_578, 61_183
LOCKS = Path("/run/octollm-sandbox")


class ToolUser(NamedTuple):
    """A uid, and the descriptor of the lock that reserves it."""

    uid: int
    lock: int


@contextmanager
def exclusive_user() -> Iterator[ToolUser | None]:
    """Reserve a user that no other tool of this machine runs as; None when the worker is not root.

    The last process that holds the lock releases it, however that process ends. Raises SandboxUnavailable when all
    users are reserved.
    """
    if os.geteuid() != 0:
        yield None
        return
    user = _reserve()
    try:
        yield user
    finally:
        os.close(user.lock)


def let_read(directory: Path, uid: int) -> None:
    """Let a user read `directory` by its group, and pass through the private temporary directories above it."""
    for above in directory.parents:
        if Path(tempfile.gettempdir()) not in above.parents or above.stat().st_mode & stat.S_IXOTH:
            break
        os.chown(above, -1, uid)
        above.chmod(0o710)
    for path in (directory, *directory.rglob("*")):
        if not path.is_symlink():
            os.chown(path, -1, uid)
            path.chmod(path.stat().st_mode | stat.S_IRGRP | (stat.S_IXGRP if path.is_dir() else 0))


def lend(directories: Iterable[Path], uid: int) -> None:
    """Give directories to a user who may then write them, with the files in them; see `take_back`."""
    for directory in directories:
        for path in (directory, *directory.rglob("*")):
            os.chown(path, uid, uid, follow_symlinks=False)


def take_back(directory: Path) -> None:
    """Own a lent directory and all in it again, without rights that a program would get by its owner.

    Call it when no process of the tool is left. Follows no symbolic link.
    """
    for path in (directory, *directory.rglob("*")):
        os.chown(path, os.geteuid(), os.getegid(), follow_symlinks=False)
        if not path.is_symlink():
            mode = path.stat().st_mode
            is_open = path.is_dir() or mode & stat.S_IXUSR
            path.chmod(0o755 if is_open else 0o644)


def give_pipe(descriptor: int, user: ToolUser | None) -> None:
    """Let a user open a pipe by its path in /proc, which needs permission as for a file."""
    if user is not None:
        os.fchown(descriptor, user.uid, user.uid)


@contextmanager
def acting_as(user: ToolUser | None) -> Iterator[None]:
    """Read /proc as `user` in this thread: root without CAP_SYS_PTRACE can't read other users' open files."""
    if user is None:
        yield
        return
    libc = ctypes.CDLL(None)
    libc.setfsgid(user.uid)
    libc.setfsuid(user.uid)
    try:
        _use_all_capabilities(libc)
        yield
    finally:
        libc.setfsuid(os.geteuid())
        libc.setfsgid(os.getegid())


def _use_all_capabilities(libc: ctypes.CDLL) -> None:
    """Restore the capabilities that the change of user cleared: /proc hides processes with more capabilities."""
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    sets = (ctypes.c_uint32 * 6)()
    libc.capget(header, sets)
    sets[0], sets[3] = sets[1], sets[4]
    libc.capset(header, sets)


def free_users() -> set[int]:
    """Return the users of earlier tools that no worker has reserved now; empty when the worker is not root."""
    return {uid for uid in _used_before() if _is_free(uid)}


def _reserve() -> ToolUser:
    try:
        LOCKS.mkdir(mode=0o700, parents=True, exist_ok=True)
        for uid in range(FIRST, LAST + 1):
            lock = os.open(LOCKS / str(uid), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            if _lock(lock):
                return ToolUser(uid, lock)
            os.close(lock)
    except OSError as error:
        raise SandboxUnavailable(f"no user can be reserved in {LOCKS}: {error.strerror}") from error
    raise SandboxUnavailable(f"all users from {FIRST} to {LAST} run a tool: see {LOCKS}")


def _used_before() -> list[int]:
    if os.geteuid() != 0 or not LOCKS.is_dir():
        return []
    return [int(path.name) for path in LOCKS.iterdir() if path.name.isdigit()]


def _is_free(uid: int) -> bool:
    lock = os.open(LOCKS / str(uid), os.O_RDWR | os.O_CLOEXEC)
    try:
        return _lock(lock)
    finally:
        os.close(lock)


def _lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
