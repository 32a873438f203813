"""The users that tools run as when the worker is root: one a tool at a time, and nobody else's."""

import ctypes
import fcntl
import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from orchestrator.models.errors import SandboxUnavailable

# free for everyone on a systemd machine, and mapped in a container: https://systemd.io/UIDS-GIDS/
FIRST, LAST = 60_578, 61_183
LOCKS = Path("/run/octollm-sandbox")


class User(NamedTuple):
    """A user's number, and the descriptor of the lock that keeps others from being him."""

    uid: int
    lock: int


@contextmanager
def lone_user() -> Iterator[User | None]:
    """Give a user that no other tool of this machine runs as; None when the worker is not root.

    The lock goes with the last process that holds it, however that ends. Raises SandboxUnavailable when all
    are taken.
    """
    if os.geteuid() != 0:
        yield None
        return
    user = _take()
    try:
        yield user
    finally:
        os.close(user.lock)


def give_to_read(directory: Path, uid: int) -> None:
    """Let a user read `directory` through its group, and pass through those above it that are private and temporary."""
    for above in directory.parents:
        if Path(tempfile.gettempdir()) not in above.parents or above.stat().st_mode & stat.S_IXOTH:
            break
        os.chown(above, -1, uid)
        above.chmod(0o710)
    for path in (directory, *directory.rglob("*")):
        if not path.is_symlink():
            os.chown(path, -1, uid)
            path.chmod(path.stat().st_mode | stat.S_IRGRP | (stat.S_IXGRP if path.is_dir() else 0))


def give_pipe(descriptor: int, user: User | None) -> None:
    """Let a user open a pipe by its name in /proc, which asks for rights as for a file."""
    if user is not None:
        os.fchown(descriptor, user.uid, user.uid)


@contextmanager
def seen_as(user: User | None) -> Iterator[None]:
    """Look at processes as `user` in this thread: root without CAP_SYS_PTRACE sees nobody else's open files."""
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
    """Take back what becoming another user has put aside: one sees only processes that can do no more than oneself."""
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    sets = (ctypes.c_uint32 * 6)()
    libc.capget(header, sets)
    sets[0], sets[3] = sets[1], sets[4]
    libc.capset(header, sets)


def free_users() -> set[int]:
    """Return the users that tools have run as and no worker holds now; empty when the worker is not root."""
    return {uid for uid in _taken_before() if _is_free(uid)}


def _take() -> User:
    try:
        LOCKS.mkdir(mode=0o700, parents=True, exist_ok=True)
        for uid in range(FIRST, LAST + 1):
            lock = os.open(LOCKS / str(uid), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            if _lock(lock):
                return User(uid, lock)
            os.close(lock)
    except OSError as error:
        raise SandboxUnavailable(f"no user can be taken in {LOCKS}: {error.strerror}") from error
    raise SandboxUnavailable(f"all users from {FIRST} to {LAST} have a tool running: see {LOCKS}")


def _taken_before() -> list[int]:
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
