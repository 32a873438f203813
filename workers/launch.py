"""Run as a script: takes limits upon itself, then becomes the tool; so nothing of ours runs after a fork.

Usage: launch.py CPU_SECONDS MEMORY_BYTES FILE_BYTES OPEN_FILES PARENT_PID TOOL ARGUMENT...
"""

import ctypes
import os
import resource
import signal
import sys

_PR_SET_PDEATHSIG = 1
_PR_SET_NO_NEW_PRIVS = 38


def main(arguments: list[str]) -> None:
    """Set the limits and execute the tool; does not return."""
    cpu, memory, file, files, parent = map(int, arguments[:5])
    libc = ctypes.CDLL(None)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    # the worker may have died before it could be watched
    if os.getppid() != parent:
        os._exit(1)
    for kind, limit in (
        (resource.RLIMIT_CPU, cpu),
        (resource.RLIMIT_AS, memory),
        (resource.RLIMIT_FSIZE, file),
        (resource.RLIMIT_NOFILE, files),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(kind, (limit, limit))
    os.execv(arguments[5], arguments[5:])  # noqa: S606 - no shell, by design


if __name__ == "__main__":
    main(sys.argv[1:])
