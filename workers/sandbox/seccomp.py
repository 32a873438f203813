"""Builds the system call filter, which allows only what tools need, for x86_64 and aarch64.

The filter is a classic BPF program over struct seccomp_data: see seccomp(2) and linux/filter.h.
"""

import errno
import platform
import struct
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from workers.sandbox import syscalls

_ARCHITECTURES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}
_X32_BIT = 0x40000000

_LOAD, _JUMP_EQUAL, _JUMP_AT_LEAST, _JUMP_ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_KILL, _ERRNO, _ALLOW = 0x80000000, 0x00050000, 0x7FFF0000
_NUMBER_AT, _ARCHITECTURE_AT, _ARGUMENTS_AT = 0, 4, 16

_AF_UNIX, _AF_INET, _AF_INET6 = 1, 2, 10
# SOCK_STREAM alone and with SOCK_NONBLOCK, SOCK_CLOEXEC or both
_STREAMS = (0x1, 0x801, 0x80001, 0x80801)
_IPPROTO_TCP = 6
_MSG_FASTOPEN = 0x20000000
_NEW_NAMESPACES = 0x7E020000
_DEVICE_MODE = 0x2000
_MAP_SHARED, _MAP_ANONYMOUS = 0x01, 0x20

# asm-generic/ioctls.h, linux/sockios.h: descriptors, terminals without input for others, and a socket's interfaces
_IOCTLS = (
    0x5401, 0x5402, 0x5403, 0x5404, 0x540B, 0x540E, 0x540F, 0x5410, 0x5411, 0x5413, 0x5414, 0x541B, 0x5421, 0x5422,
    0x5429, 0x5441, 0x5450, 0x5451, 0x80045430, 0x40045431, 0x8910, 0x8912, 0x8913, 0x8915, 0x8919, 0x891B, 0x8921,
    0x8927, 0x8933,
)  # fmt: skip
# linux/fcntl.h: duplicates, flags and locks; no owner or signal (it could reach other processes), no lease
_FCNTLS = (0, 1, 2, 3, 4, 5, 6, 7, 9, 11, 36, 37, 38, 1030, 1032, 1034)
# linux/prctl.h: names, the parent's death, timer slack, huge pages, what is allowed; and a machine's own registers.
# Without PR_SET_DUMPABLE, by which a process could hide its files from the worker.
_PRCTLS = (1, 2, 3, 15, 16, 21, 23, 29, 30, 38, 39, 41, 42, 51, 54, 55, 56, 0x53564D41)

_OF_ANOTHER = ("setpriority", "sched_setparam", "sched_setscheduler", "sched_setaffinity", "sched_setattr")
_SIGNALS = ("kill", "tkill", "tgkill", "rt_sigqueueinfo", "rt_tgsigqueueinfo", "pidfd_send_signal")
_FILE_OWNERS = (
    "chmod", "fchmod", "fchmodat", "fchmodat2", "chown", "fchown", "lchown", "fchownat", "utime", "utimes",
    "futimesat", "utimensat", "setxattr", "lsetxattr", "fsetxattr", "removexattr", "lremovexattr", "fremovexattr",
    "setxattrat", "removexattrat",
)  # fmt: skip


@dataclass(frozen=True)
class FilterRules:
    """What the filter allows besides ordinary calls.

    `sockets`: Unix and IP sockets; the tool has a network namespace. `tcp`: TCP sockets of IPv4; another mechanism
    limits the ports. `own_uid`: calls on files and processes of the
    tool's user; no other process has that user. `signals`: signals; another mechanism limits their targets.
    `truncate`: truncation by path; another mechanism limits the files.
    """

    sockets: bool
    own_uid: bool
    signals: bool = True
    truncate: bool = True
    tcp: bool = False


def program(rules: FilterRules, *, machine: str | None = None) -> bytes:
    """Return the compiled filter for `machine`, by default this one; raises LookupError for an unknown machine."""
    column, architecture = _ARCHITECTURES[machine or platform.machine()]
    code = [
        *_load(_ARCHITECTURE_AT), _jump(_JUMP_EQUAL, architecture, 1, 0), _end(_KILL), *_load(_NUMBER_AT),
        _jump(_JUMP_AT_LEAST, _X32_BIT, 0, 1), _end(_KILL),
    ]  # fmt: skip
    for name, block in _blocks(rules).items():
        number = syscalls.CONDITIONAL[name][column]
        if number is not None:
            code += [_jump(_JUMP_EQUAL, number, 0, len(block)), *block]
    for group, action in (
        (syscalls.ORDINARY, _ALLOW),
        (syscalls.REFUSED, _ERRNO | errno.EPERM),
        (syscalls.DEADLY, _KILL),
    ):
        numbers = [pair[column] for pair in group.values()]
        for first, last in _ranges(number for number in numbers if number is not None):
            code += [
                _jump(_JUMP_AT_LEAST, first, 0, 2),
                _jump(_JUMP_AT_LEAST, last + 1, 1, 0),
                _end(action),
            ]
    # by ENOSYS libraries fall back to older calls
    return b"".join([*code, _end(_ERRNO | errno.ENOSYS)])


@contextmanager
def compiled(rules: FilterRules) -> Iterator[int]:
    """Give a descriptor of a file with this machine's filter."""
    with tempfile.TemporaryFile() as file:
        file.write(program(rules))
        file.seek(0)
        yield file.fileno()


def is_supported(machine: str | None = None) -> bool:
    """Return whether this is Linux and the system calls of `machine`, by default this one, are known."""
    return sys.platform == "linux" and (machine or platform.machine()) in _ARCHITECTURES


def _blocks(rules: FilterRules) -> dict[str, list[bytes]]:
    """Return the instructions for each call whose arguments matter; every block ends with a return."""
    families = (_AF_UNIX, _AF_INET, _AF_INET6) if rules.sockets else ()
    device = [*_argument(1), _jump(_JUMP_ANY_BIT, _DEVICE_MODE, 0, 1), *_refuse(errno.EPERM), _end(_ALLOW)]
    blocks = {name: [_end(_ALLOW)] for name in syscalls.CONDITIONAL}
    blocks |= {
        "socket": _only(0, families, errno.EACCES),
        "socketpair": _only(0, (_AF_UNIX,), errno.EACCES),
        "clone": [*_argument(0), _jump(_JUMP_ANY_BIT, _NEW_NAMESPACES, 0, 1), *_refuse(errno.EPERM), _end(_ALLOW)],
        # its flags are in memory, which a filter can't read; libc falls back to clone
        "clone3": _refuse(errno.ENOSYS),
        "ioctl": _only(1, _IOCTLS, errno.ENOTTY),
        "fcntl": _only(1, _FCNTLS, errno.EINVAL),
        "prctl": _only(0, _PRCTLS, errno.EPERM),
        # it can't be counted: after a partial unmap all of it stays allocated; scratch files can be mapped
        "mmap": [
            *_argument(3), _jump(_JUMP_ANY_BIT, _MAP_SHARED, 0, 2), _jump(_JUMP_ANY_BIT, _MAP_ANONYMOUS, 0, 1),
            *_refuse(errno.EPERM), _end(_ALLOW),
        ],
        "mknod": device,
        "mknodat": [*_argument(2), *device[1:]],
        "prlimit64": _only(0, (0,), errno.EPERM),
    }  # fmt: skip
    if rules.tcp and not rules.sockets:
        # without MPTCP and without data in the first packet: Landlock checks neither
        blocks["socket"] = [
            *_require(0, (_AF_INET,), errno.EACCES),
            *_require(1, _STREAMS, errno.EACCES),
            *_only(2, (0, _IPPROTO_TCP), errno.EACCES),
        ]
        blocks["sendto"] = [
            *_argument(3), _jump(_JUMP_ANY_BIT, _MSG_FASTOPEN, 0, 1), *_refuse(errno.EPERM), _end(_ALLOW),
        ]  # fmt: skip
    if not rules.sockets:
        # a deleted file in a socket's queue is in no process' list of open files
        blocks |= dict.fromkeys(("sendmsg", "sendmmsg"), _refuse(errno.EPERM))
    if not rules.own_uid:
        blocks |= {name: _only(0, (0,), errno.EPERM) for name in _OF_ANOTHER}
        blocks["ioprio_set"] = _refuse(errno.EPERM)
        # they succeed without effect: shutil.copy works, and no file changes its mode or owner
        blocks |= dict.fromkeys(_FILE_OWNERS, _refuse(0))
        if not rules.signals:
            blocks |= dict.fromkeys(_SIGNALS, _refuse(errno.EPERM))
        if not rules.truncate:
            blocks["truncate"] = _refuse(errno.EPERM)
    return blocks


def _ranges(numbers: Iterable[int]) -> list[tuple[int, int]]:
    """Return the first and last number of each unbroken run."""
    runs: list[tuple[int, int]] = []
    for number in sorted(numbers):
        if runs and number == runs[-1][1] + 1:
            runs[-1] = (runs[-1][0], number)
        else:
            runs.append((number, number))
    return runs


def _only(argument: int, values: Sequence[int], refusal: int) -> list[bytes]:
    tests = [_jump(_JUMP_EQUAL, value, len(values) - index, 0) for index, value in enumerate(values)]
    return [*_argument(argument), *tests, *_refuse(refusal), _end(_ALLOW)]


def _require(argument: int, values: Sequence[int], refusal: int) -> list[bytes]:
    """Return the instructions that refuse the call, or go on behind them."""
    return _only(argument, values, refusal)[:-1]


def _argument(index: int) -> list[bytes]:
    # the low half: the kernel reads these arguments as ints
    return _load(_ARGUMENTS_AT + 8 * index)


def _load(offset: int) -> list[bytes]:
    return [_instruction(_LOAD, 0, 0, offset)]


def _jump(kind: int, value: int, if_true: int, if_false: int) -> bytes:
    return _instruction(kind, if_true, if_false, value)


def _refuse(number: int) -> list[bytes]:
    return [_end(_ERRNO | number)]


def _end(action: int) -> bytes:
    return _instruction(_RETURN, 0, 0, action)


def _instruction(code: int, if_true: int, if_false: int, value: int) -> bytes:
    return struct.pack("<HBBI", code, if_true, if_false, value)
