"""A program that stays in its sandbox and is spoken to over its standard input and output, until it is ended."""

import os
import tempfile
import threading
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from workers.sandbox import cleanup, handshake
from workers.sandbox.backend import Access, Cell, HandshakePipes, ToolLimits
from workers.sandbox.handshake import Pipe
from workers.sandbox.selection import Sandbox

_TAIL_BYTES = 4_096
_CHUNK_BYTES = 65_536
_JOIN_SECONDS = 5.0
_TICK_SECONDS = 0.02
_PIPES = ("stdin", "stdout", "stderr", "report", "ready", "go")


@dataclass(frozen=True)
class ServerCommand:
    """What is started, and what it may reach; `environment` is all of its environment but HOME and TMPDIR.

    `{scratch}` in an argument stands for the server's private directory.
    """

    argv: tuple[str, ...]
    environment: Mapping[str, str]
    access: Access


class SandboxedServer:
    """One running server; `stdin` and `stdout` are the descriptors of our ends of its pipes.

    Make and end it in a thread that lives as long as the server. Its processes end with the worker, however that ends.
    """

    def __init__(self, sandbox: Sandbox, command: ServerCommand) -> None:
        """Start the server; raises SandboxUnavailable when its sandbox does not start."""
        self._kept = ExitStack()
        self._tail = bytearray()
        self._pipes: dict[str, Pipe] = {}
        self._init: int | None = None
        self._limits: ToolLimits = sandbox.limits
        try:
            self._start(sandbox, command)
        except BaseException:
            self.end()
            raise

    @property
    def stdin(self) -> int:
        """Return the descriptor that the server reads from."""
        return self._pipes["stdin"].write

    @property
    def stdout(self) -> int:
        """Return the descriptor that the server writes to."""
        return self._pipes["stdout"].read

    @property
    def pid(self) -> int:
        """Return the pid of the sandbox's first process."""
        return self._process.pid

    def has_ended(self) -> bool:
        """Return whether the server has ended. Until `end` it stays a zombie, so that its pid is not used again."""
        try:
            ended = os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return True
        return ended is not None

    def last_words(self) -> str:
        """Return the end of what the server wrote to its standard error: untrusted text, for operators only."""
        return bytes(self._tail).decode("utf-8", "replace").strip()

    def check_usage(self) -> None:
        """Raise ToolFailed when the server uses more memory, processes or scratch space than it may."""
        handshake.check_usage(self._cell, self._process.pid, self._limits)

    def end(self, *, grace_seconds: float = 0.0) -> None:
        """Close the server's input, let it end by itself within the grace time, and kill all that is left of it.

        Returns when all its processes have ended; safe to call twice.
        """
        if "stdin" in self._pipes:
            self._pipes["stdin"].close_write()
            give_up = time.monotonic() + grace_seconds
            while not self.has_ended() and time.monotonic() < give_up:
                time.sleep(_TICK_SECONDS)
        self._kept.close()
        self._pipes = {}

    def _start(self, sandbox: Sandbox, command: ServerCommand) -> None:
        kept = self._kept
        inputs = Path(tempfile.mkdtemp(prefix=cleanup.directory_prefix()))
        kept.callback(cleanup.remove, inputs)
        self._cell: Cell = kept.enter_context(sandbox.cell(inputs, command.access))
        self._pipes = {name: kept.enter_context(handshake.open_pipe()) for name in _PIPES}
        inherited = HandshakePipes(
            go=self._pipes["go"].read, ready=self._pipes["ready"].write, report=self._pipes["report"].write
        )
        scratch = str(self._cell.scratch)
        argv = [word.replace("{scratch}", scratch) for word in command.argv]
        environment = {**command.environment, "HOME": scratch, "TMPDIR": scratch}
        start = self._cell.start(argv, environment, inherited)
        self._process = handshake.spawn(start, self._pipes)
        kept.callback(self._end_processes, start.is_keeper)
        reader = threading.Thread(target=self._read_stderr, name="server-stderr", daemon=True)
        reader.start()
        if not handshake.wait_until_ready(self._pipes["ready"].read, checkpoint=lambda: None):
            self._process.wait()
            reader.join(_JOIN_SECONDS)
            raise handshake.not_entered(bytes(self._tail))
        self._init = None if start.is_keeper else handshake.init_of(self._process.pid)
        handshake.send_go(self._pipes["go"].write)

    def _end_processes(self, is_keeper: bool) -> None:
        self._pipes["go"].close_write()
        handshake.end(self._process, self._init, is_keeper=is_keeper)
        if self._init is not None:
            os.close(self._init)
            self._init = None

    def _read_stderr(self) -> None:
        """Read what the server logs, so that it never waits for us; keep only the end of it."""
        descriptor = os.dup(self._pipes["stderr"].read)
        with os.fdopen(descriptor, "rb", buffering=0) as stream:
            while chunk := stream.read(_CHUNK_BYTES):
                self._tail += chunk
                del self._tail[:-_TAIL_BYTES]
