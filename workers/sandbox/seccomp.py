"""Builds the filter of system calls: what no tool needs is refused, for x86_64 and aarch64.

The filter is a classic BPF program over struct seccomp_data: see seccomp(2) and linux/filter.h.
"""

import errno
import platform
import struct
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

_ARCHITECTURES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}
_X32_BIT = 0x40000000

_LOAD, _JUMP_EQUAL, _JUMP_AT_LEAST, _JUMP_ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_KILL, _ERRNO, _ALLOW = 0x80000000, 0x00050000, 0x7FFF0000
_NUMBER_AT, _ARCHITECTURE_AT, _ARGUMENTS_AT = 0, 4, 16

_AF_UNIX, _AF_INET, _AF_INET6 = 1, 2, 10
_NEW_NAMESPACES = 0x7E020000
_TERMINAL_INPUT = (0x5412, 0x541C)

# name: number on x86_64, on aarch64; None where there is no such call. From the kernel's syscall tables.
_NUMBERS: dict[str, tuple[int | None, int | None]] = {
    "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271), "kcmp": (312, 272),
    "pidfd_getfd": (438, 438), "process_madvise": (440, 440), "process_mrelease": (448, 448),
    "bpf": (321, 280), "perf_event_open": (298, 241), "userfaultfd": (323, 282), "fanotify_init": (300, 262),
    "io_uring_setup": (425, 425), "io_uring_enter": (426, 426), "io_uring_register": (427, 427),
    "add_key": (248, 217), "request_key": (249, 218), "keyctl": (250, 219),
    "kexec_load": (246, 104), "kexec_file_load": (320, 294), "reboot": (169, 142),
    "init_module": (175, 105), "finit_module": (313, 273), "delete_module": (176, 106),
    "swapon": (167, 224), "swapoff": (168, 225), "syslog": (103, 116), "acct": (163, 89), "vhangup": (153, 58),
    "quotactl": (179, 60), "quotactl_fd": (443, 443), "sethostname": (170, 161), "setdomainname": (171, 162),
    "settimeofday": (164, 170), "clock_settime": (227, 112), "clock_adjtime": (305, 266), "adjtimex": (159, 171),
    "iopl": (172, None), "ioperm": (173, None), "modify_ldt": (154, None), "uselib": (134, None),
    "name_to_handle_at": (303, 264), "open_by_handle_at": (304, 265), "lookup_dcookie": (212, 18),
    "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41), "chroot": (161, 51),
    "open_tree": (428, 428), "move_mount": (429, 429), "fsopen": (430, 430), "fsconfig": (431, 431),
    "fsmount": (432, 432), "fspick": (433, 433), "mount_setattr": (442, 442),
    "unshare": (272, 97), "setns": (308, 268), "personality": (135, 92),
    "mbind": (237, 235), "set_mempolicy": (238, 237), "migrate_pages": (256, 238), "move_pages": (279, 239),
    "memfd_create": (319, 279), "memfd_secret": (447, 447),
    "shmget": (29, 194), "shmat": (30, 196), "semget": (64, 190), "msgget": (68, 186), "mq_open": (240, 180),
    "clone": (56, 220), "clone3": (435, 435), "socket": (41, 198), "socketpair": (53, 199), "ioctl": (16, 29),
    "prlimit64": (302, 261), "setpriority": (141, 140), "ioprio_set": (251, 30), "sched_setparam": (142, 118),
    "sched_setscheduler": (144, 119), "sched_setaffinity": (203, 122), "sched_setattr": (314, 274),
    "kill": (62, 129), "tkill": (200, 130), "tgkill": (234, 131), "rt_sigqueueinfo": (129, 138),
    "rt_tgsigqueueinfo": (297, 240), "pidfd_send_signal": (424, 424),
    "truncate": (76, 45), "chmod": (90, None), "fchmod": (91, 52), "fchmodat": (268, 53), "fchmodat2": (452, 452),
    "chown": (92, None), "fchown": (93, 55), "lchown": (94, None), "fchownat": (260, 54),
    "utime": (132, None), "utimes": (235, None), "futimesat": (261, None), "utimensat": (280, 88),
    "setxattr": (188, 5), "lsetxattr": (189, 6), "fsetxattr": (190, 7), "removexattr": (197, 14),
    "lremovexattr": (198, 15), "fremovexattr": (199, 16), "setxattrat": (463, 463), "removexattrat": (466, 466),
}  # fmt: skip

_WITH_ARGUMENTS = ("clone", "clone3", "socket", "socketpair", "ioctl", "prlimit64")
_OF_ANOTHER = ("setpriority", "sched_setparam", "sched_setscheduler", "sched_setaffinity", "sched_setattr")
_SIGNALS = ("kill", "tkill", "tgkill", "rt_sigqueueinfo", "rt_tgsigqueueinfo", "pidfd_send_signal")
_FILE_OWNERS = (
    "chmod", "fchmod", "fchmodat", "fchmodat2", "chown", "fchown", "lchown", "fchownat", "utime", "utimes",
    "futimesat", "utimensat", "setxattr", "lsetxattr", "fsetxattr", "removexattr", "lremovexattr", "fremovexattr",
    "setxattrat", "removexattrat",
)  # fmt: skip
_CONDITIONAL = frozenset({*_WITH_ARGUMENTS, *_OF_ANOTHER, *_SIGNALS, *_FILE_OWNERS, "ioprio_set", "truncate"})
REFUSED = tuple(name for name in _NUMBERS if name not in _CONDITIONAL)


@dataclass(frozen=True)
class Rules:
    """What the filter lets through beyond the ordinary.

    `sockets`: local and loopback ones, where a network namespace stands around the tool. `own_uid`: no other
    process runs as the tool's user, so that files and processes of that user are the tool's alone. `signals`:
    something else keeps signals inside. `truncate`: something else keeps truncation inside.
    """

    sockets: bool
    own_uid: bool
    signals: bool = True
    truncate: bool = True


def program(rules: Rules, *, machine: str | None = None) -> bytes:
    """Return the compiled filter for `machine` (this one's by default); raises LookupError for an unknown one."""
    column, architecture = _ARCHITECTURES[machine or platform.machine()]
    code = [
        *_load(_ARCHITECTURE_AT), _jump(_JUMP_EQUAL, architecture, 1, 0), _end(_KILL), *_load(_NUMBER_AT),
        _jump(_JUMP_AT_LEAST, _X32_BIT, 0, 1), _end(_KILL),
    ]  # fmt: skip
    for name, block in _blocks(rules):
        number = _NUMBERS[name][column]
        if number is not None:
            code += [_jump(_JUMP_EQUAL, number, 0, len(block)), *block]
    return b"".join([*code, _end(_ALLOW)])


@contextmanager
def compiled(rules: Rules) -> Iterator[int]:
    """Give a descriptor from which this machine's filter is read."""
    with tempfile.TemporaryFile() as file:
        file.write(program(rules))
        file.seek(0)
        yield file.fileno()


def is_supported(machine: str | None = None) -> bool:
    """Tell whether we know the system calls of a Linux on `machine` (this one by default)."""
    return sys.platform == "linux" and (machine or platform.machine()) in _ARCHITECTURES


def _blocks(rules: Rules) -> list[tuple[str, list[bytes]]]:
    """Return what to do for each call that is not simply allowed; every block ends by returning."""
    families = (_AF_UNIX, _AF_INET, _AF_INET6) if rules.sockets else ()
    blocks = [(name, _refuse(errno.EPERM)) for name in REFUSED]
    blocks += [
        ("socket", _only(0, families, errno.EACCES)),
        ("socketpair", _only(0, (_AF_UNIX,), errno.EACCES)),
        ("clone", [*_argument(0), _jump(_JUMP_ANY_BIT, _NEW_NAMESPACES, 0, 1), *_refuse(errno.EPERM), _end(_ALLOW)]),
        # its flags lie in memory, where no filter can look; libc falls back to clone
        ("clone3", _refuse(errno.ENOSYS)),
        ("ioctl", _none_of(1, _TERMINAL_INPUT)),
        ("prlimit64", _only(0, (0,), errno.EPERM)),
    ]  # fmt: skip
    if not rules.own_uid:
        blocks += [(name, _only(0, (0,), errno.EPERM)) for name in _OF_ANOTHER]
        blocks += [("ioprio_set", _refuse(errno.EPERM))]
        # they succeed and change nothing: shutil.copy works, and nobody's files change mode or owner
        blocks += [(name, _refuse(0)) for name in _FILE_OWNERS]
        blocks += [(name, _refuse(errno.EPERM)) for name in _SIGNALS if not rules.signals]
        blocks += [] if rules.truncate else [("truncate", _refuse(errno.EPERM))]
    return blocks


def _only(argument: int, values: Sequence[int], refusal: int) -> list[bytes]:
    tests = [_jump(_JUMP_EQUAL, value, len(values) - index, 0) for index, value in enumerate(values)]
    return [*_argument(argument), *tests, *_refuse(refusal), _end(_ALLOW)]


def _none_of(argument: int, values: Sequence[int]) -> list[bytes]:
    tests = [_jump(_JUMP_EQUAL, value, len(values) - index, 0) for index, value in enumerate(values)]
    return [*_argument(argument), *tests, _end(_ALLOW), *_refuse(errno.EPERM)]


def _argument(index: int) -> list[bytes]:
    # the low half: these arguments are ints, of which the kernel itself takes no more
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
