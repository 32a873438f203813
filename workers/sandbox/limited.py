"""Parses untrusted bytes: runs a function in a child process with kernel limits on memory, time and files.

Each process has a server (limited_server), started at the first call, which has imported the parsers and forks for
each call. The server has no secrets and no connections. It ends with its process, and its children end with it.
"""

import json
import os
import pickle
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import structlog

from orchestrator.models.errors import InvalidStepInput, PatchRejected, StepError, ToolFailed

P = ParamSpec("P")
T = TypeVar("T")

MEBIBYTE = 1024**2
LENGTH = struct.Struct("!Q")
"""The header of a request and of an answer: its length in bytes."""
_START_SECONDS = 30.0
_TICK_MILLISECONDS = 100
_CHUNK_BYTES = 256 * 1024
_ERRORS: Mapping[str, type[StepError]] = {kind.code: kind for kind in (InvalidStepInput, PatchRejected)}

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class CallLimits:
    """What one call may use; `memory_bytes` is on top of the server's memory, `answer_bytes` the size of its JSON."""

    memory_bytes: int = 256 * MEBIBYTE
    cpu_seconds: int = 10
    wall_seconds: float = 60.0
    file_bytes: int = 64 * MEBIBYTE
    open_files: int = 64
    answer_bytes: int = 4 * MEBIBYTE


DEFAULT = CallLimits()


def limited(
    function: Callable[P, T],
    about: str,
    *,
    checkpoint: Callable[[], None] = lambda: None,
    limits: CallLimits = DEFAULT,
) -> Callable[P, T]:
    """Return a function that runs `function` in a limited child; `about` names the parsed thing in messages.

    `function` must be at the top of a module, with arguments that can be pickled. It returns JSON values; tuples come
    back as lists. The call raises InvalidStepInput and PatchRejected as `function` does, InvalidStepInput when a limit
    ends the child, ToolFailed for any other failure, and what `checkpoint` raises; that is called several times a
    second.
    """

    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        request = pickle.dumps(
            (function.__module__, function.__qualname__, asdict(limits), args, kwargs),
            pickle.HIGHEST_PROTOCOL,
        )
        with _SERVER.child() as link:
            answered = _ask(link, request, limits=limits, checkpoint=checkpoint)
        return _value(answered, function.__qualname__, about, limits=limits)  # type: ignore[no-any-return]  # JSON

    return call


class _ForkServer:
    """The server of this process; a forked child does not use its parent's and starts its own."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None

    def forget_in_child(self) -> None:
        """Close this copy of the connection to the parent's server, so that the server notices the parent's end."""
        if self._control is not None:
            self._control.close()
        if self._process is not None:
            # it is not a child of this process, which can't wait for it
            self._process.returncode = 0
        self._lock = threading.Lock()
        self._process = self._control = None

    @contextmanager
    def child(self) -> Iterator[socket.socket]:
        """Give the socket of a new child, which is killed at the end."""
        link, descriptor = self._fork()
        try:
            yield link
        finally:
            link.close()
            try:
                signal.pidfd_send_signal(descriptor, signal.SIGKILL)
            except ProcessLookupError:
                pass
            finally:
                os.close(descriptor)

    def _fork(self) -> tuple[socket.socket, int]:
        """Return the socket and the pidfd of a new child; starts the server again when it has died."""
        for _ in range(2):
            link, theirs = socket.socketpair()
            link.settimeout(_START_SECONDS)
            try:
                with theirs, self._lock:
                    socket.send_fds(self._started(), [b"f"], [theirs.fileno()])
                _, descriptors, _, _ = socket.recv_fds(link, 1, 1)
            except OSError as error:
                log.warning("limited.no_child", error=type(error).__name__)
            else:
                if descriptors:
                    return link, descriptors[0]
            link.close()
        raise ToolFailed("the process in which files are parsed does not start: see the worker's log")

    def _started(self) -> socket.socket:
        if self._control is None or self._process is None or self._process.poll() is not None:
            if self._control is not None:
                self._control.close()
            self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            self._control.settimeout(_START_SECONDS)
            with theirs:
                self._process = _spawn(theirs)
        return self._control


_SERVER = _ForkServer()
os.register_at_fork(after_in_child=_SERVER.forget_in_child)


def _spawn(control: socket.socket) -> "subprocess.Popen[bytes]":
    """Start a server without our environment; it reads its standard input until the end."""
    places = [str(Path(place).absolute()) for place in sys.path]
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "workers.sandbox.limited_server"],
        stdin=control.fileno(),
        stdout=subprocess.DEVNULL,
        env={"PYTHONPATH": os.pathsep.join(places), "PYTHONUTF8": "1"},
        # Ctrl-C in a terminal must not end the server before the worker
        start_new_session=True,
    )


def _ask(
    link: socket.socket, request: bytes, *, limits: CallLimits, checkpoint: Callable[[], None]
) -> dict[str, Any]:
    """Return the child's answer, or {"ended": reason} when there is none."""
    end = time.monotonic() + limits.wall_seconds
    link.settimeout(limits.wall_seconds)
    try:
        link.sendall(LENGTH.pack(len(request)) + request)
    except OSError:
        return {"ended": "limit"}
    poll = select.poll()
    poll.register(link, select.POLLIN)
    answer = bytearray()
    while True:
        if not poll.poll(_TICK_MILLISECONDS):
            checkpoint()
            if time.monotonic() > end:
                return {"ended": "limit"}
            continue
        chunk = _received(link)
        answer += chunk
        if len(answer) > LENGTH.size + limits.answer_bytes:
            return {"ended": "answer"}
        if not chunk:
            return _decoded(bytes(answer))


def _received(link: socket.socket) -> bytes:
    try:
        return link.recv(_CHUNK_BYTES)
    except ConnectionResetError:
        return b""


def _decoded(answer: bytes) -> dict[str, Any]:
    """Return the answer as a dict. It is not trusted beyond that: the parsed bytes may control the child."""
    if len(answer) < LENGTH.size or LENGTH.unpack_from(answer)[0] != len(answer) - LENGTH.size:
        return {"ended": "limit"}
    try:
        decoded = json.loads(answer[LENGTH.size :])
    except (ValueError, RecursionError):
        return {"ended": "answer"}
    return decoded if isinstance(decoded, dict) else {"ended": "answer"}


def _value(answered: Mapping[str, Any], name: str, about: str, *, limits: CallLimits) -> Any:
    """Return the function's value, or raise the error for its failure."""
    if "value" in answered:
        return answered["value"]
    if "error" in answered:
        kind = _ERRORS.get(str(answered["error"]), InvalidStepInput)
        raise kind(str(answered.get("message", "")))
    if answered.get("ended") == "answer":
        raise InvalidStepInput(
            f"{about} contains too much: its results are more than {limits.answer_bytes} bytes"
        )
    if answered.get("ended") == "limit":
        raise InvalidStepInput(
            f"{about} is too costly to read: it takes more than {limits.memory_bytes // MEBIBYTE} MiB of memory, "
            f"{limits.cpu_seconds} s of processor time or {limits.wall_seconds:g} s; send a smaller or simpler one"
        )
    raise ToolFailed(f"{name} failed on {about} with an unexpected error; the worker's log has its place")
