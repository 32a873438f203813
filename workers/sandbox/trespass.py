"""Run as a script in a sandbox: tries what must fail there and what must not, and prints what it could do.

Usage: trespass.py SCRATCH PORT SECRET_FILE WORKER_PID. It imports nothing of ours.
"""

import json
import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path

_NEW_USER_NAMESPACE = 0x10000000


def _connect(port: str) -> bool:
    with socket.create_connection(("127.0.0.1", int(port)), timeout=2):
        return True


def _write(path: str) -> bool:
    with open(path, "w", encoding="ascii") as file:
        file.write("x")
    os.unlink(path)
    return True


def _read(path: str) -> bool:
    with open(path, "rb") as file:
        return bool(file.read(1))


def _signal(pid: str) -> bool:
    if pid == "0":
        return False
    os.kill(int(pid), 0)
    return True


def _unshare() -> bool:
    import ctypes

    return bool(ctypes.CDLL(None).unshare(_NEW_USER_NAMESPACE) == 0)


def main(scratch: str, port: str, secret: str, worker: str) -> None:
    """Try everything and print a JSON object: what was tried, and whether it could be done."""
    if int(worker) == os.getpid() or int(worker) == os.getppid() == 1:
        # the sandbox counts processes by itself: what has the worker's number is not the worker
        worker = "0"
    tries: dict[str, Callable[[], bool]] = {
        "write its scratch directory": lambda: _write(f"{scratch}/probe"),
        "connect to a port of this machine": lambda: _connect(port),
        "write /usr": lambda: _write(f"/usr/.octollm-probe-{os.getpid()}"),
        "write its inputs": lambda: _write(str(Path(__file__).with_name("probe"))),
        "write beside a secret file": lambda: _write(f"{secret}.probe"),
        "read a secret file": lambda: _read(secret),
        "read /etc/passwd": lambda: _read("/etc/passwd"),
        "read the worker's environment": lambda: _read(f"/proc/{worker}/environ"),
        "read the environment of process 1": lambda: _read("/proc/1/environ"),
        "signal the worker": lambda: _signal(worker),
        "be root": lambda: os.geteuid() == 0,
        "make a user namespace": _unshare,
    }
    could = {}
    for name, attempt in tries.items():
        try:
            could[name] = attempt()
        except OSError:
            could[name] = False
    print(json.dumps(could))


if __name__ == "__main__":
    main(*sys.argv[1:])
