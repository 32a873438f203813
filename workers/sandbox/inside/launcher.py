"""A script inside the sandbox: applies the limits to itself, waits for `go`, then executes the tool.

Usage: launcher.py TAG ORDERS TOOL ARGUMENT... The orders are NAME=NUMBER pairs joined by commas. `go`, `ready` and
`report` are descriptors. `cpu`, `memory`, `file`, `files` and `processes` are limits. `uid` is the user to change to.
The basic sandbox adds `keep`, `landlock`, `seccomp`, `lock` and `search`. The script imports none of our modules:
the sandbox has none of them, and the tool starts within milliseconds.
"""

import os
import resource
import sys

REPORT = 3
NOT_STARTED, NOT_FOUND = 125, 127
_DESCRIPTORS = ("go", "ready", "report", "landlock", "seccomp", "lock")
_SIGKILL = 9
_CAP_DAC_READ_SEARCH = 2


def run_tool(orders: dict[str, int], tool: list[str]) -> None:
    """Apply the limits, wait for `go`, execute the tool; exit when the worker has died."""
    for kind, name in (
        (resource.RLIMIT_CPU, "cpu"),
        (resource.RLIMIT_AS, "memory"),
        (resource.RLIMIT_FSIZE, "file"),
        (resource.RLIMIT_NOFILE, "files"),
        (resource.RLIMIT_NPROC, "processes"),
    ):
        resource.setrlimit(kind, (orders[name], orders[name]))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if "uid" in orders:
        _become_user(orders["uid"], may_search="search" in orders)
    if "landlock" in orders:
        # undo the change of user's effect on /proc: the worker must be able to read this process' open files
        _control(4, 1)
        _confine(orders["landlock"], orders["seccomp"])
        if os.getppid() != orders["keeper"]:
            os._exit(NOT_STARTED)
    os.write(orders["ready"], b"r")
    if os.read(orders["go"], 1) != b"g":
        os._exit(NOT_STARTED)
    os.dup2(orders["report"], REPORT)
    os.closerange(REPORT + 1, 1 + max(orders.get(name, 0) for name in _DESCRIPTORS))
    try:
        os.execv(tool[0], tool)  # noqa: S606 - no shell, by design
    except OSError as error:
        os.write(2, f"{tool[0]}: {error.strerror}\n".encode())
        os._exit(NOT_FOUND)


def run_as_keeper(orders: dict[str, int], tool: list[str]) -> None:
    """Run the tool in a child; when the child or the worker ends, kill every process of the tool. Does not return.

    In place of a pid namespace: orphaned processes of the tool become children of this process.
    """
    import select

    _control(36, 1)
    _end_all(orders)
    keeper = os.getpid()
    child = os.fork()
    if child == 0:
        orders["keeper"] = keeper
        run_tool(orders, tool)
    for name in ("ready", "report", "landlock", "seccomp"):
        os.close(orders[name])
    watch = select.poll()
    watch.register(os.pidfd_open(child), select.POLLIN)
    # without events, poll reports only that the worker's end is closed
    watch.register(orders["go"], 0)
    watch.poll()
    status = None
    if os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT):
        status = os.waitpid(child, 0)[1]
    _end_all(orders)
    code = NOT_STARTED if status is None else os.waitstatus_to_exitcode(status)
    os._exit(code if code >= 0 else 128 - code)


def _end_all(orders: dict[str, int]) -> None:
    """Kill every process of the tool, and wait for their end."""
    if "uid" in orders:
        # the kernel signals all processes of the user at once, so that no fork escapes
        killer = os.fork()
        if killer == 0:
            os.setresuid(orders["uid"], orders["uid"], orders["uid"])
            try:
                os.kill(-1, _SIGKILL)
            finally:
                os._exit(0)
        os.waitpid(killer, 0)
    while True:
        for pid in _descendants(os.getpid()):
            try:
                # without forks the loop ends
                resource.prlimit(pid, resource.RLIMIT_NPROC, (0, 0))
                os.kill(pid, _SIGKILL)
            except OSError:
                continue
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            return


def _descendants(pid: int) -> list[int]:
    found = []
    try:
        with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as children:
            for child in map(int, children.read().split()):
                found += [child, *_descendants(child)]
    except OSError:
        return found
    return found


def _become_user(uid: int, *, may_search: bool) -> None:
    if may_search:
        _control(8, 1)
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)
    if may_search:
        _keep_search()


def _keep_search() -> None:
    """Keep the one capability that passes through private directories; the ruleset still limits the files."""
    import ctypes

    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    capability = 1 << _CAP_DAC_READ_SEARCH
    sets = (ctypes.c_uint32 * 6)(capability, capability, capability, 0, 0, 0)
    if ctypes.CDLL(None).capset(header, sets):
        raise OSError("capset is refused")
    _control(47, 2, _CAP_DAC_READ_SEARCH)


def _confine(ruleset: int, seccomp: int) -> None:
    import ctypes

    _control(38, 1)
    _control(1, _SIGKILL)
    with open(seccomp, "rb", closefd=False) as file:
        code = ctypes.create_string_buffer(file.read())
    if ctypes.CDLL(None).syscall(ctypes.c_long(446), ruleset, 0):
        raise OSError("landlock_restrict_self is refused")

    class Program(ctypes.Structure):
        _fields_ = (("length", ctypes.c_ushort), ("code", ctypes.c_void_p))

    filled = Program((len(code) - 1) // 8, ctypes.addressof(code))
    _control(22, 2, ctypes.addressof(filled))


def _control(option: int, first: int, second: int = 0) -> None:
    """Call prctl(2); the numbers are those of linux/prctl.h."""
    import ctypes

    words = [ctypes.c_ulong(word) for word in (first, second, 0, 0)]
    if ctypes.CDLL(None).prctl(option, *words):
        raise OSError(f"prctl {option} is refused")


def main() -> None:
    """Carry out the orders; does not return."""
    orders = {
        name: int(number) for name, _, number in (pair.partition("=") for pair in sys.argv[2].split(","))
    }
    act = run_as_keeper if "keep" in orders else run_tool
    try:
        act(orders, sys.argv[3:])
    except BaseException as error:
        os.write(2, f"the sandbox can't be entered: {error}\n".encode())
    os._exit(NOT_STARTED)


if __name__ == "__main__":
    main()
