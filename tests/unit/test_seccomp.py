"""The system call filter follows its rules on both machines: the tests interpret its program."""

import errno
import struct

import pytest

from workers.sandbox.seccomp import FilterRules, program
from workers.sandbox.syscalls import DEADLY, NUMBERS, ORDINARY, REFUSED

MACHINES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}
OUTSIDE = FilterRules(sockets=False, own_uid=False, signals=False, truncate=False)
ALONE = FilterRules(sockets=False, own_uid=True)
NAMESPACED = FilterRules(sockets=True, own_uid=True)
KILLED, ALLOWED = "killed", "allowed"


def verdict(
    rules: FilterRules, machine: str, call: str | int, *arguments: int, architecture: int | None = None
) -> object:
    """Run the filter as the kernel does; return ALLOWED, KILLED or the error number."""
    column, own = MACHINES[machine]
    number = call if isinstance(call, int) else NUMBERS[call][column]
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
def test_an_unlisted_call_does_not_exist(rules: FilterRules, machine: str) -> None:
    column = MACHINES[machine][0]
    listed = {numbers[column] for numbers in NUMBERS.values()}

    others = {verdict(rules, machine, number) for number in range(1024) if number not in listed}

    assert others == {errno.ENOSYS}


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("rules", [OUTSIDE, ALONE, NAMESPACED])
def test_each_listed_call_gets_the_result_of_its_list(rules: FilterRules, machine: str) -> None:
    for group, answer in ((ORDINARY, ALLOWED), (REFUSED, errno.EPERM), (DEADLY, KILLED)):
        for call, numbers in group.items():
            if numbers[MACHINES[machine][0]] is not None:
                assert verdict(rules, machine, call) == answer, call


@pytest.mark.parametrize("machine", MACHINES)
def test_file_events_and_processes_can_not_be_watched(machine: str) -> None:
    watchers = ("inotify_init1", "inotify_add_watch", "fanotify_init", "fanotify_mark", "ptrace", "keyctl")
    others = (
        "io_uring_setup",
        "userfaultfd",
        "perf_event_open",
        "process_vm_readv",
        "unshare",
        "setns",
        "mount",
    )
    for call in (*watchers, *others):
        assert verdict(ALONE, machine, call) == errno.EPERM, call
    notify, set_owner, set_signal, duplicate = 1026, 8, 10, 1030
    for command in (notify, set_owner, set_signal, 15, 1024):
        assert verdict(NAMESPACED, machine, "fcntl", 3, command) == errno.EINVAL
    assert verdict(ALONE, machine, "fcntl", 3, duplicate) == ALLOWED


@pytest.mark.parametrize("machine", MACHINES)
def test_memory_that_can_not_be_counted_is_refused(machine: str) -> None:
    shared, private, anonymous, validated = 0x01, 0x02, 0x20, 0x03
    assert verdict(NAMESPACED, machine, "mmap", 0, 4096, 3, shared | anonymous) == errno.EPERM
    assert verdict(NAMESPACED, machine, "mmap", 0, 4096, 3, validated | anonymous) == errno.EPERM
    assert verdict(NAMESPACED, machine, "mmap", 0, 4096, 3, private | anonymous) == ALLOWED
    assert verdict(NAMESPACED, machine, "mmap", 0, 4096, 3, shared, 5) == ALLOWED
    for call in ("memfd_create", "memfd_secret", "shmget", "io_setup", "vmsplice", "remap_file_pages"):
        assert verdict(NAMESPACED, machine, call) == errno.EPERM, call
    assert verdict(ALONE, machine, "sendmsg") == errno.EPERM
    assert verdict(NAMESPACED, machine, "sendmsg") == ALLOWED


@pytest.mark.parametrize("machine", MACHINES)
def test_a_tool_makes_no_devices_and_does_not_hide_from_the_worker(machine: str) -> None:
    fifo, character, block, set_dumpable, set_name = 0x1000, 0x2000, 0x6000, 4, 15
    assert verdict(NAMESPACED, machine, "mknodat", 3, 0, fifo) == ALLOWED
    assert verdict(NAMESPACED, machine, "mknodat", 3, 0, character) == errno.EPERM
    assert verdict(NAMESPACED, machine, "mknodat", 3, 0, block) == errno.EPERM
    assert verdict(NAMESPACED, machine, "prctl", set_dumpable) == errno.EPERM
    assert verdict(NAMESPACED, machine, "prctl", set_name) == ALLOWED


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
def test_a_tool_with_the_worker_s_user_can_not_change_that_user_s_processes_and_files(machine: str) -> None:
    assert verdict(OUTSIDE, machine, "kill", 1234, 9) == errno.EPERM
    assert verdict(OUTSIDE, machine, "truncate") == errno.EPERM
    assert verdict(OUTSIDE, machine, "sched_setaffinity", 1234) == errno.EPERM
    assert verdict(OUTSIDE, machine, "fchmodat") == 0
    assert verdict(ALONE, machine, "fchmodat") == verdict(ALONE, machine, "kill", 1234, 9) == ALLOWED


@pytest.mark.parametrize("machine", MACHINES)
def test_only_own_limits_can_be_read_and_a_terminal_takes_no_input(machine: str) -> None:
    assert verdict(ALONE, machine, "prlimit64", 0) == ALLOWED
    assert verdict(ALONE, machine, "prlimit64", 4321) == errno.EPERM
    assert (
        verdict(ALONE, machine, "ioctl", 0, 0x5412)
        == verdict(ALONE, machine, "ioctl", 0, 0x541C)
        == errno.ENOTTY
    )
    assert verdict(ALONE, machine, "ioctl", 0, 0x5401) == ALLOWED


@pytest.mark.parametrize("machine", MACHINES)
def test_calls_of_another_architecture_kill(machine: str) -> None:
    assert verdict(ALONE, machine, 1, architecture=0x40000003) == KILLED
    assert verdict(ALONE, machine, 0x40000001) == KILLED
    assert verdict(ALONE, machine, "read") == ALLOWED


def test_the_filter_fits_into_the_kernel() -> None:
    assert len(program(OUTSIDE, machine="x86_64")) // 8 < 4096
    with pytest.raises(LookupError):
        program(OUTSIDE, machine="s390x")
