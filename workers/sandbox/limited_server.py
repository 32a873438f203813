"""Run as a module: imports the parsers once, then forks a limited child for each call of workers.sandbox.limited.

Its standard input is a socket that brings each call's own socket. It ends when that ends, which is when the worker
does, and the kernel then ends its children. It has one thread, so that forking is safe.
"""

import ctypes
import gc
import importlib
import json
import os
import pickle
import resource
import signal
import socket
import sys
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

from orchestrator.models.errors import InvalidStepInput, PatchRejected
from workers.sandbox.limited import LENGTH, MEBIBYTE

PRELOADED = (
    "orchestrator.safety.archive",
    "workers.arms.coverage_map",
    "workers.arms.junit",
    "workers.arms.patch",
    "workers.arms.python_source",
    "workers.arms.scanning",
)
"""What children find imported; anything else costs them its import."""
_SET_PARENT_DEATH_SIGNAL = 1
_TO_ANSWER_BYTES = 64 * MEBIBYTE
"""Memory that is set free to say that there was not enough."""


def serve(control: socket.socket) -> None:
    """Fork for each socket that comes, until none can come any more."""
    for name in PRELOADED:
        importlib.import_module(name)
    # the worker dies rather than its tenants' neighbours: of all processes the kernel ends these first
    _prefer_to_die()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    server = os.getpid()
    gc.collect()
    gc.freeze()
    while True:
        _, descriptors, _, _ = socket.recv_fds(control, 1, 1)
        if not descriptors:
            return
        with socket.socket(fileno=descriptors[0]) as link:
            _fork(link, control, prctl, server)


def _fork(link: socket.socket, control: socket.socket, prctl: Any, server: int) -> None:
    """Start a child that waits for its request, and send a descriptor of it; without one the caller tries again."""
    try:
        child = os.fork()
    except OSError:
        return
    if child == 0:
        _be_child(link, control, prctl, server)
    try:
        descriptor = os.pidfd_open(child)
    except OSError:
        os.kill(child, signal.SIGKILL)
        return
    try:
        socket.send_fds(link, [b"p"], [descriptor])
    except OSError:
        signal.pidfd_send_signal(descriptor, signal.SIGKILL)
    finally:
        os.close(descriptor)


def _be_child(link: socket.socket, control: socket.socket, prctl: Any, server: int) -> NoReturn:
    code = 1
    try:
        prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGKILL)
        if os.getppid() == server:
            control.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            answer = json.dumps(_answer(link)).encode()
            link.sendall(LENGTH.pack(len(answer)) + answer)
            code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def _answer(link: socket.socket) -> dict[str, Any]:
    """Do what the request asks for, within its limits."""
    size = LENGTH.unpack(_exactly(link, LENGTH.size))[0]
    # our own worker's words; what comes back is JSON, for by then untrusted bytes were read here
    module, name, limits, args, kwargs = pickle.loads(_exactly(link, size))  # noqa: S301
    function = getattr(importlib.import_module(module), name)
    _take(limits)
    try:
        return {"value": function(*args, **kwargs)}
    except (InvalidStepInput, PatchRejected) as error:
        return {"error": error.code, "message": error.message}
    except (MemoryError, RecursionError):
        _free_memory()
        return {"ended": "limit"}
    except Exception as error:
        # where, not what: a message may quote what was read
        place = traceback.extract_tb(error.__traceback__)[-1]
        sys.stderr.write(f"{name}: {type(error).__name__} at {place.filename}:{place.lineno}\n")
        return {"ended": "defect"}


def _take(limits: Mapping[str, Any]) -> None:
    """Limit this process: memory is counted on top of what it has mapped already."""
    mapped = int(Path("/proc/self/statm").read_text("ascii").split()[0]) * resource.getpagesize()
    most = mapped + limits["memory_bytes"]
    for kind, soft, hard in (
        (resource.RLIMIT_AS, most, most + _TO_ANSWER_BYTES),
        (resource.RLIMIT_CPU, limits["cpu_seconds"], limits["cpu_seconds"] + 1),
        (resource.RLIMIT_FSIZE, limits["file_bytes"], limits["file_bytes"]),
        (resource.RLIMIT_NOFILE, limits["open_files"], limits["open_files"]),
        (resource.RLIMIT_CORE, 0, 0),
    ):
        resource.setrlimit(kind, (soft, hard))


def _free_memory() -> None:
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    resource.setrlimit(resource.RLIMIT_AS, (hard, hard))


def _exactly(link: socket.socket, size: int) -> bytearray:
    content = bytearray(size)
    view = memoryview(content)
    while view:
        read = link.recv_into(view)
        if not read:
            raise EOFError("the worker has gone")
        view = view[read:]
    return content


def _prefer_to_die() -> None:
    try:
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")
    except OSError:
        return


if __name__ == "__main__":
    serve(socket.socket(fileno=sys.stdin.fileno()))
