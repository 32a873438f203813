"""Runs one tool in a sandbox: starts it by a handshake, watches its use of resources, reads what it writes, ends it."""

import os
import selectors
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

from orchestrator.models.errors import ToolFailed, ToolTimeout
from workers.sandbox import handshake
from workers.sandbox.backend import Cell, HandshakePipes, ToolLimits
from workers.sandbox.handshake import Pipe

_TICK_SECONDS = 0.05
_SAMPLE_SECONDS = 0.25
_END_SECONDS = 10.0
_CHUNK_BYTES = 65_536


@dataclass(frozen=True)
class ToolResult:
    """How a tool ended: its exit code (128 + n for signal n), the first bytes of what it wrote, its run time."""

    exit_code: int
    stdout: bytes
    stderr: bytes
    report: bytes
    seconds: float


def run(
    cell: Cell,
    argv: Sequence[str],
    *,
    environment: Mapping[str, str],
    limits: ToolLimits,
    checkpoint: Callable[[], None],
    stdin: bytes = b"",
) -> ToolResult:
    """Run `argv` in the cell with `environment` alone; call it from a thread that lives as long as the tool.

    The tool reads `stdin` as its standard input, and then its end.

    Calls `checkpoint` several times a second; an exception from it ends the tool. Raises ToolTimeout after
    `limits.wall_seconds`, ToolFailed for a tool that uses too much, SandboxUnavailable when the sandbox does not
    start. All processes of the tool have ended when this returns or raises.
    """
    with ExitStack() as kept:
        pipes = {
            name: kept.enter_context(handshake.open_pipe())
            for name in ("stdout", "stderr", "report", "ready", "go")
        }
        inherited = HandshakePipes(
            go=pipes["go"].read, ready=pipes["ready"].write, report=pipes["report"].write
        )
        if stdin:
            pipes["stdin"] = kept.enter_context(handshake.open_input(stdin))
        start = cell.start(argv, environment, inherited)
        bounds = {"stdout": limits.output_bytes, "stderr": limits.output_bytes, "report": limits.report_bytes}
        outputs = {name: _Output(pipes[name].read, bound) for name, bound in bounds.items()}
        reader = _OutputReader(outputs.values())
        kept.callback(reader.close)
        process = handshake.spawn(start, pipes)
        watch = _ToolWatch(cell, process, limits, checkpoint, list(outputs.values()), reader)
        seconds = _run_to_end(watch, pipes, stderr=outputs["stderr"], is_keeper=start.is_keeper)
    kept_bytes = {name: bytes(output.kept) for name, output in outputs.items()}
    return ToolResult(_exit_code(process.returncode), **kept_bytes, seconds=round(seconds, 3))


@dataclass
class _Output:
    """One pipe from a tool: its first `limit` bytes are kept, the rest is only counted."""

    descriptor: int
    limit: int
    kept: bytearray = field(default_factory=bytearray)
    total: int = 0

    def add(self, chunk: bytes) -> None:
        """Add what was read."""
        self.total += len(chunk)
        self.kept += chunk[: max(self.limit - len(self.kept), 0)]


class _OutputReader:
    """Reads several outputs at the same time."""

    def __init__(self, outputs: Iterable[_Output]) -> None:
        self._selector = selectors.DefaultSelector()
        for output in outputs:
            os.set_blocking(output.descriptor, False)
            self._selector.register(output.descriptor, selectors.EVENT_READ, output)

    def add_wake(self, descriptor: int) -> None:
        """Make `read` return as soon as this descriptor is readable, too."""
        self._selector.register(descriptor, selectors.EVENT_READ, None)

    def remove_wake(self, descriptor: int) -> None:
        """Undo `add_wake`."""
        self._selector.unregister(descriptor)

    def read(self, seconds: float) -> bool:
        """Read what is available, or wait at most `seconds` for something; return whether anything was read."""
        found = False
        for key, _ in self._selector.select(seconds):
            output: _Output | None = key.data
            if output is None:
                continue
            try:
                chunk = os.read(key.fd, _CHUNK_BYTES)
            except BlockingIOError:
                continue
            if chunk:
                output.add(chunk)
                found = True
            else:
                self._selector.unregister(key.fd)
        return found

    def close(self) -> None:
        """Stop reading; the pipes stay open."""
        self._selector.close()


@dataclass
class _ToolWatch:
    """Waits for a sandbox's start and end, and raises when the tool exceeds a limit."""

    cell: Cell
    process: "subprocess.Popen[bytes]"
    limits: ToolLimits
    checkpoint: Callable[[], None]
    outputs: list[_Output]
    reader: _OutputReader

    def until_ready(self, ready: int, stderr: _Output) -> None:
        """Wait until the launcher runs inside its sandbox: from then on no process outlives the worker."""
        if handshake.wait_until_ready(ready, checkpoint=self.checkpoint):
            return
        self.process.wait(_END_SECONDS)
        while self.reader.read(0):
            pass
        raise handshake.not_entered(bytes(stderr.kept))

    def until_ended(self, end: float) -> None:
        """Read until the tool ends. It stays a zombie, so that its pid is not used again."""
        sampled = time.monotonic()
        descriptor = os.pidfd_open(self.process.pid)
        try:
            self.reader.add_wake(descriptor)
            while os.waitid(os.P_PID, self.process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
                self.checkpoint()
                self.reader.read(_TICK_SECONDS)
                self.check_flood()
                now = time.monotonic()
                if now > end:
                    raise ToolTimeout(f"the tool ran longer than {self.limits.wall_seconds:g} s")
                if now > sampled + _SAMPLE_SECONDS:
                    sampled = now
                    handshake.check_usage(self.cell, self.process.pid, self.limits)
        finally:
            self.reader.remove_wake(descriptor)
            os.close(descriptor)

    def check_flood(self) -> None:
        """Raise ToolFailed when the tool wrote far more than is kept."""
        if any(output.total > self.limits.flood_factor * output.limit for output in self.outputs):
            raise ToolFailed("the tool wrote more output than is read")


def _run_to_end(watch: _ToolWatch, pipes: Mapping[str, Pipe], *, stderr: _Output, is_keeper: bool) -> float:
    """Start the tool once its sandbox is ready, watch it, and end the sandbox; return how long the tool ran."""
    init: int | None = None
    try:
        watch.until_ready(pipes["ready"].read, stderr)
        init = None if is_keeper else handshake.init_of(watch.process.pid)
        started = time.monotonic()
        handshake.send_go(pipes["go"].write)
        watch.until_ended(started + watch.limits.wall_seconds)
        seconds = time.monotonic() - started
    finally:
        pipes["go"].close_write()
        handshake.end(watch.process, init, is_keeper=is_keeper)
        if init is not None:
            os.close(init)
    while watch.reader.read(0):
        watch.check_flood()
    return seconds


def _exit_code(returncode: int) -> int:
    return returncode if returncode >= 0 else 128 - returncode
