"""The one door through which untrusted bytes are parsed: a function runs in a child that the kernel limits.

Each process has a server (limited_server), started at the first call, that has imported the parsers and forks for
each call. It holds no secret and no connection. It ends with its process, and its children end with it.
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
"""What stands before a request and an answer: how many bytes it has."""
_START_SECONDS = 30.0
_TICK_MILLISECONDS = 100
_CHUNK_BYTES = 256 * 1024
_ERRORS: Mapping[str, type[StepError]] = {kind.code: kind for kind in (InvalidStepInput, PatchRejected)}

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Limits:
    """What one call may use: memory on top of the server's, processor time, time, and the size of its answer."""

    memory_bytes: int = 256 * MEBIBYTE
    cpu_seconds: int = 10
    wall_seconds: float = 60.0
    file_bytes: int = 64 * MEBIBYTE
    open_files: int = 64
    answer_bytes: int = 4 * MEBIBYTE


DEFAULT = Limits()


def limited(
    function: Callable[P, T],
    about: str,
    *,
    checkpoint: Callable[[], None] = lambda: None,
    limits: Limits = DEFAULT,
) -> Callable[P, T]:
    """Return `function` as one that runs in a limited child; `about` names in messages what is parsed.

    The function is one at the top of a module; its arguments can be pickled; what it returns is JSON, and comes back
    as JSON does: tuples as lists. Called, it raises what the function raises of InvalidStepInput and PatchRejected,
    InvalidStepInput when a limit ends it, ToolFailed for any other end, and whatever `checkpoint` raises, which is
    called several times a second.
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


class _Server:
    """The server of this process; a forked child has none of its parent's and starts its own."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None

    def forget_in_child(self) -> None:
        """Let go of the parent's server: it must see the end of its parent, whatever became of the child."""
        if self._control is not None:
            self._control.close()
        if self._process is not None:
            # not a child of this process, so there is nothing to wait for
            self._process.returncode = 0
        self._lock = threading.Lock()
        self._process = self._control = None

    @contextmanager
    def child(self) -> Iterator[socket.socket]:
        """Give the socket of a new child, which is killed in the end."""
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
        """Return the socket and the process descriptor of a new child; a server that died is started again."""
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


_SERVER = _Server()
os.register_at_fork(after_in_child=_SERVER.forget_in_child)


def _spawn(control: socket.socket) -> "subprocess.Popen[bytes]":
    """Start a server with none of our environment; it reads its standard input until that ends."""
    places = [str(Path(place).absolute()) for place in sys.path]
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "workers.sandbox.limited_server"],
        stdin=control.fileno(),
        stdout=subprocess.DEVNULL,
        env={"PYTHONPATH": os.pathsep.join(places), "PYTHONUTF8": "1"},
        # Ctrl-C in a terminal is for the worker, which may want its server until it ends
        start_new_session=True,
    )


def _ask(
    link: socket.socket, request: bytes, *, limits: Limits, checkpoint: Callable[[], None]
) -> dict[str, Any]:
    """Return what the child answers; {"ended": why} for a child that does not."""
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
    """Return the answer, of which nothing is believed but that it is JSON: a child may have been taken over."""
    if len(answer) < LENGTH.size or LENGTH.unpack_from(answer)[0] != len(answer) - LENGTH.size:
        return {"ended": "limit"}
    try:
        decoded = json.loads(answer[LENGTH.size :])
    except (ValueError, RecursionError):
        return {"ended": "answer"}
    return decoded if isinstance(decoded, dict) else {"ended": "answer"}


def _value(answered: Mapping[str, Any], name: str, about: str, *, limits: Limits) -> Any:
    """Return the function's value, or raise what kept it from one."""
    if "value" in answered:
        return answered["value"]
    if "error" in answered:
        kind = _ERRORS.get(str(answered["error"]), InvalidStepInput)
        raise kind(str(answered.get("message", "")))
    if answered.get("ended") == "answer":
        raise InvalidStepInput(
            f"{about} holds too much: reading it gives more than {limits.answer_bytes} bytes of results"
        )
    if answered.get("ended") == "limit":
        raise InvalidStepInput(
            f"{about} is too costly to read: it takes more than {limits.memory_bytes // MEBIBYTE} MiB of memory, "
            f"{limits.cpu_seconds} s of processor time or {limits.wall_seconds:g} s; send a smaller or simpler one"
        )
    raise ToolFailed(f"{name} failed on {about} in a way it does not know; the worker's log says more")
