"""The filter of system calls does on both machines what its rules say: its program is run here, step by step."""

import errno
import struct

import pytest

from workers.sandbox.seccomp import _NUMBERS, REFUSED, Rules, program

MACHINES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}
OUTSIDE = Rules(sockets=False, own_uid=False, signals=False, truncate=False)
ALONE = Rules(sockets=False, own_uid=True)
NAMESPACED = Rules(sockets=True, own_uid=True)
KILLED, ALLOWED = "killed", "allowed"


def verdict(
    rules: Rules, machine: str, call: str | int, *arguments: int, architecture: int | None = None
) -> object:
    """Run the filter as the kernel does; return ALLOWED, KILLED or the number of the error."""
    column, own = MACHINES[machine]
    number = call if isinstance(call, int) else _NUMBERS[call][column]
    words = [*arguments, *[0] * (6 - len(arguments))]
    call_data = struct.pack("<IIQ6Q", number, own if architecture is None else architecture, 0, *words)
    code = list(struct.iter_unpack("<HBBI", program(rules, machine=machine)))
    at = loaded = 0
    while True:
        operation, if_true, if_false, value = code[at]
        at += 1
        if operation == 0x20:
            (loaded,) = struct.unpack_from("<I", call_data, value)
        elif operation == 0x06:
            return {0x80000000: KILLED, 0x7FFF0000: ALLOWED}.get(value, value & 0xFFFF)
        else:
            holds = {0x15: loaded == value, 0x35: loaded >= value, 0x45: bool(loaded & value)}[operation]
            at += if_true if holds else if_false


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("rules", [OUTSIDE, ALONE, NAMESPACED])
def test_what_no_tool_needs_is_refused(rules: Rules, machine: str) -> None:
    for call in REFUSED:
        if _NUMBERS[call][MACHINES[machine][0]] is not None:
            assert verdict(rules, machine, call) == errno.EPERM, call


@pytest.mark.parametrize("machine", MACHINES)
def test_processes_and_threads_can_be_made_but_no_namespaces(machine: str) -> None:
    assert verdict(ALONE, machine, "clone", 0x11) == verdict(ALONE, machine, "clone", 0x3D0F00) == ALLOWED
    for namespace in (0x20000, 0x02000000, 0x04000000, 0x08000000, 0x10000000, 0x20000000, 0x40000000):
        assert verdict(ALONE, machine, "clone", namespace | 0x11) == errno.EPERM
    assert verdict(ALONE, machine, "clone3") == errno.ENOSYS


@pytest.mark.parametrize("machine", MACHINES)
def test_sockets_need_a_network_of_their_own(machine: str) -> None:
    families = {"unix": 1, "inet": 2, "inet6": 10, "netlink": 16, "packet": 17, "vsock": 40}

    inside = {
        name for name, family in families.items() if verdict(NAMESPACED, machine, "socket", family) == ALLOWED
    }
    outside = {
        name for name, family in families.items() if verdict(ALONE, machine, "socket", family) == ALLOWED
    }

    assert inside == {"unix", "inet", "inet6"}
    assert outside == set()
    assert verdict(ALONE, machine, "socketpair", 1) == ALLOWED


@pytest.mark.parametrize("machine", MACHINES)
def test_a_tool_under_the_worker_s_user_touches_nothing_else_of_that_user(machine: str) -> None:
    assert verdict(OUTSIDE, machine, "kill", 1234, 9) == errno.EPERM
    assert verdict(OUTSIDE, machine, "truncate") == errno.EPERM
    assert verdict(OUTSIDE, machine, "sched_setaffinity", 1234) == errno.EPERM
    assert verdict(OUTSIDE, machine, "fchmodat") == 0
    assert verdict(ALONE, machine, "fchmodat") == verdict(ALONE, machine, "kill", 1234, 9) == ALLOWED


@pytest.mark.parametrize("machine", MACHINES)
def test_limits_are_one_s_own_and_a_terminal_takes_no_input(machine: str) -> None:
    assert verdict(ALONE, machine, "prlimit64", 0) == ALLOWED
    assert verdict(ALONE, machine, "prlimit64", 4321) == errno.EPERM
    assert (
        verdict(ALONE, machine, "ioctl", 0, 0x5412)
        == verdict(ALONE, machine, "ioctl", 0, 0x541C)
        == errno.EPERM
    )
    assert verdict(ALONE, machine, "ioctl", 0, 0x5401) == ALLOWED


@pytest.mark.parametrize("machine", MACHINES)
def test_calls_of_another_architecture_kill(machine: str) -> None:
    assert verdict(ALONE, machine, 1, architecture=0x40000003) == KILLED
    assert verdict(ALONE, machine, 0x40000001) == KILLED
    assert verdict(ALONE, machine, 1) == ALLOWED


def test_the_filter_fits_into_the_kernel() -> None:
    assert len(program(OUTSIDE, machine="x86_64")) // 8 < 4096
    with pytest.raises(LookupError):
        program(OUTSIDE, machine="s390x")
