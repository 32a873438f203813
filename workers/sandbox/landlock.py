"""Makes Landlock rulesets by system calls: they limit the files that a process can open. See landlock(7)."""

import ctypes
import os
from collections.abc import Iterable
from pathlib import Path

_CREATE_RULESET, _ADD_RULE = 444, 445
_VERSION_FLAG = 1
_PATH_BENEATH, _NET_PORT = 1, 2

_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIRECTORY = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_ALL_OF_ABI_1 = (1 << 13) - 1
_REFER, _TRUNCATE, _DEVICE_CONTROL = 1 << 13, 1 << 14, 1 << 15
_MAKE_DEVICES = 1 << 6 | 1 << 11
_ON_FILES = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _DEVICE_CONTROL
_ALL_TCP = 0b11
_CONNECT_TCP = 1 << 1
_ALL_SCOPES = 0b11

TRUNCATE_SINCE, NETWORK_SINCE, SIGNALS_SINCE = 3, 4, 6


class _Ruleset(ctypes.Structure):
    _fields_ = (
        ("handled_access_fs", ctypes.c_uint64),
        ("handled_access_net", ctypes.c_uint64),
        ("scoped", ctypes.c_uint64),
    )


class _Beneath(ctypes.Structure):
    _pack_ = 1
    _layout_ = "ms"
    _fields_ = (("allowed_access", ctypes.c_uint64), ("parent_fd", ctypes.c_int32))


class _Port(ctypes.Structure):
    _fields_ = (("allowed_access", ctypes.c_uint64), ("port", ctypes.c_uint64))


def version() -> int:
    """Return the kernel's Landlock ABI, 0 when it has none."""
    try:
        return _call(_CREATE_RULESET, None, 0, _VERSION_FLAG)
    except OSError:
        return 0


def ruleset(
    *, readable: Iterable[Path], writable: Iterable[Path], abi: int, network: bool = False, port: int = 0
) -> int:
    """Return the descriptor of a ruleset that allows only these files; `abi` is at least 1.

    Readable files can be executed, too. `network` allows connections to other machines, `port` those to this port
    (from NETWORK_SINCE on). A process applies the ruleset to itself by landlock_restrict_self.
    """
    handled = _handled(abi)
    attributes = _Ruleset(
        handled,
        _ALL_TCP if abi >= NETWORK_SINCE and not network else 0,
        _ALL_SCOPES if abi >= SIGNALS_SINCE else 0,
    )
    # an older kernel refuses unknown fields, even when they are zero
    size = 24 if abi >= SIGNALS_SINCE else 16 if abi >= NETWORK_SINCE else 8
    descriptor = _call(_CREATE_RULESET, ctypes.byref(attributes), size, 0)
    try:
        for path in readable:
            _allow(descriptor, path, _EXECUTE | _READ_FILE | _READ_DIRECTORY)
        for path in writable:
            _allow(descriptor, path, handled & ~_MAKE_DEVICES & ~_DEVICE_CONTROL)
        if port:
            rule = _Port(_CONNECT_TCP, port)
            _call(_ADD_RULE, descriptor, _NET_PORT, ctypes.byref(rule), 0)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _handled(abi: int) -> int:
    handled = _ALL_OF_ABI_1
    for since, right in ((2, _REFER), (TRUNCATE_SINCE, _TRUNCATE), (5, _DEVICE_CONTROL)):
        handled |= right if abi >= since else 0
    return handled


def _allow(descriptor: int, path: Path, access: int) -> None:
    place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        rule = _Beneath(access if path.is_dir() else access & _ON_FILES, place)
        _call(_ADD_RULE, descriptor, _PATH_BENEATH, ctypes.byref(rule), 0)
    finally:
        os.close(place)


def _call(number: int, *arguments: object) -> int:
    call = ctypes.CDLL(None, use_errno=True).syscall
    call.restype = ctypes.c_long
    result: int = call(ctypes.c_long(number), *arguments)
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result
