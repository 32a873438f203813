"""The server of workers.sandbox.limited, run as a module: imports the parsers once, then forks a child for each call.

Its standard input is a socket that passes each call's own socket. The server ends when the worker closes it or dies,
and the kernel then kills its children. It has one thread, so that forking is safe.
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
    "orchestrator.safety.redaction",
    "workers.arms.data_formats",
    "workers.arms.python_metrics",
    "workers.arms.reports",
    "workers.arms.text_files",
    "workers.arms.unified_diff",
)
"""The modules that are imported before the fork; a child must import any other module itself."""
_SET_PARENT_DEATH_SIGNAL = 1
_TO_ANSWER_BYTES = 64 * MEBIBYTE
"""Extra memory for reporting that the limit was reached."""


def serve(control: socket.socket) -> None:
    """Fork a child for each socket that arrives, until `control` is closed."""
    for name in PRELOADED:
        importlib.import_module(name)
    # when memory runs out the kernel must kill these processes first
    _be_killed_first()
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
    """Start a child and send its pidfd; without one the caller tries again."""
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
    """Run the requested function within its limits; return the answer."""
    size = LENGTH.unpack(_exactly(link, LENGTH.size))[0]
    # the request comes from our own worker; the answer is JSON, because by then untrusted bytes were parsed here
    module, name, limits, args, kwargs = pickle.loads(_exactly(link, size))  # noqa: S301
    function = getattr(importlib.import_module(module), name)
    _apply(limits)
    try:
        return {"value": function(*args, **kwargs)}
    except (InvalidStepInput, PatchRejected) as error:
        return {"error": error.code, "message": error.message}
    except (MemoryError, RecursionError):
        _free_memory()
        return {"ended": "limit"}
    except Exception as error:
        # the place only: a message may quote what was parsed
        place = traceback.extract_tb(error.__traceback__)[-1]
        sys.stderr.write(f"{name}: {type(error).__name__} at {place.filename}:{place.lineno}\n")
        return {"ended": "defect"}


def _apply(limits: Mapping[str, Any]) -> None:
    """Apply the limits to this process; memory counts on top of what is already mapped."""
    mapped = int(Path("/proc/self/statm").read_text("ascii").split()[0]) * resource.getpagesize()
    memory_limit = mapped + limits["memory_bytes"]
    for kind, soft, hard in (
        (resource.RLIMIT_AS, memory_limit, memory_limit + _TO_ANSWER_BYTES),
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
            raise EOFError("the worker has closed the connection")
        view = view[read:]
    return content


def _be_killed_first() -> None:
    try:
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")
    except OSError:
        return


if __name__ == "__main__":
    serve(socket.socket(fileno=sys.stdin.fileno()))
