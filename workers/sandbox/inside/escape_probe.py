"""A script inside the sandbox: tries to escape, and prints as JSON which attempts succeeded.

Usage: escape_probe.py ORDERS, a JSON object: `scratch`, `port`, `worker` (a pid), `beside` (a file to write),
`temporary` (a directory, and a name in it) and `withheld` (lists of files by the attempt to read one). It imports
none of our modules.
"""

import json
import os
import socket
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

_NEW_USER_NAMESPACE = 0x10000000


def _connect(port: int) -> bool:
    with socket.create_connection(("127.0.0.1", port), timeout=2):
        return True


def _write(path: str) -> bool:
    with open(path, "w", encoding="ascii") as file:
        file.write("x")
    os.unlink(path)
    return True


def _read(path: str) -> bool:
    with open(path, "rb") as file:
        return bool(file.read(1))


def _signal(pid: int) -> bool:
    if pid == 0:
        return False
    os.kill(pid, 0)
    return True


def _unshare() -> bool:
    import ctypes

    return bool(ctypes.CDLL(None).unshare(_NEW_USER_NAMESPACE) == 0)


def _list(directory: str, name: str) -> bool:
    return name in os.listdir(directory)


def _watch(directory: str) -> bool:
    import ctypes

    libc = ctypes.CDLL(None)
    descriptor = libc.inotify_init()
    return bool(descriptor >= 0 and libc.inotify_add_watch(descriptor, directory.encode(), 0x100) >= 0)


def _read_any(paths: list[str]) -> bool:
    for path in paths:
        try:
            if _read(path):
                return True
        except OSError:
            continue
    return False


def main(orders: dict[str, Any]) -> None:
    """Try everything and print a JSON object: each attempt, and whether it succeeded."""
    worker = orders["worker"]
    if worker == os.getpid() or worker == os.getppid() == 1:
        # in a pid namespace another process has the worker's number
        worker = 0
    temporary, name = orders["temporary"]
    tries: dict[str, Callable[[], bool]] = {
        "write its scratch directory": lambda: _write(f"{orders['scratch']}/probe"),
        "connect to a port of this machine": lambda: _connect(orders["port"]),
        "write /usr": lambda: _write(f"/usr/.octollm-probe-{os.getpid()}"),
        "write its inputs": lambda: _write(str(Path(__file__).with_name("probe"))),
        "write beside a secret file": lambda: _write(orders["beside"]),
        "list the temporary directory": lambda: _list(temporary, name),
        "watch a directory": lambda: _watch("/usr"),
        "read /etc/passwd": lambda: _read("/etc/passwd"),
        "read the worker's environment": lambda: _read(f"/proc/{worker}/environ"),
        "read the environment of process 1": lambda: _read("/proc/1/environ"),
        "signal the worker": lambda: _signal(worker),
        "be root": lambda: os.geteuid() == 0,
        "make a user namespace": _unshare,
    }
    tries |= {attempt: partial(_read_any, paths) for attempt, paths in orders["withheld"].items()}
    could = {}
    for name, attempt in tries.items():
        try:
            could[name] = attempt()
        except OSError:
            could[name] = False
    print(json.dumps(could))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
