"""Runs one tool in a sandbox: starts it by a handshake, watches its use of resources, reads what it writes, ends it."""

import os
import select
import selectors
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

from orchestrator.models.errors import SandboxUnavailable, ToolFailed, ToolTimeout
from workers.sandbox.backend import Cell, HandshakePipes, SandboxStart, ToolLimits
from workers.sandbox.process_usage import children_of, held_by, shares_of, tree_of

_TICK_SECONDS = 0.05
_SAMPLE_SECONDS = 0.25
_START_SECONDS = 30.0
_END_SECONDS = 10.0
_CHUNK_BYTES = 65_536
# the sandbox's own processes in the tree of a tool
_SANDBOX_PROCESSES = 2


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
) -> ToolResult:
    """Run `argv` in the cell with `environment` alone; call it from a thread that lives as long as the tool.

    Calls `checkpoint` several times a second; an exception from it ends the tool. Raises ToolTimeout after
    `limits.wall_seconds`, ToolFailed for a tool that uses too much, SandboxUnavailable when the sandbox does not
    start. All processes of the tool have ended when this returns or raises.
    """
    with ExitStack() as kept:
        pipes = {name: kept.enter_context(_pipe()) for name in ("stdout", "stderr", "report", "ready", "go")}
        handshake = HandshakePipes(
            go=pipes["go"].read, ready=pipes["ready"].write, report=pipes["report"].write
        )
        start = cell.start(argv, environment, handshake)
        bounds = {"stdout": limits.output_bytes, "stderr": limits.output_bytes, "report": limits.report_bytes}
        outputs = {name: _Output(pipes[name].read, bound) for name, bound in bounds.items()}
        reader = _OutputReader(outputs.values())
        kept.callback(reader.close)
        process = _spawn(start, pipes)
        watch = _ToolWatch(cell, process, limits, checkpoint, list(outputs.values()), reader)
        seconds = _run_to_end(watch, pipes, stderr=outputs["stderr"], is_keeper=start.is_keeper)
    kept_bytes = {name: bytes(output.kept) for name, output in outputs.items()}
    return ToolResult(_exit_code(process.returncode), **kept_bytes, seconds=round(seconds, 3))


@dataclass
class _Pipe:
    read: int
    write: int

    def close_read(self) -> None:
        if self.read >= 0:
            os.close(self.read)
            self.read = -1

    def close_write(self) -> None:
        if self.write >= 0:
            os.close(self.write)
            self.write = -1


@contextmanager
def _pipe() -> Iterator[_Pipe]:
    pipe = _Pipe(*os.pipe())
    try:
        yield pipe
    finally:
        pipe.close_read()
        pipe.close_write()


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
        give_up = time.monotonic() + _START_SECONDS
        while not select.select([ready], [], [], _TICK_SECONDS)[0]:
            self.checkpoint()
            if time.monotonic() > give_up:
                raise SandboxUnavailable(f"the sandbox did not start within {_START_SECONDS:g} s")
        if os.read(ready, 1) != b"r":
            self.process.wait(_END_SECONDS)
            while self.reader.read(0):
                pass
            reason = bytes(stderr.kept).decode("utf-8", "replace").strip()[:500]
            raise SandboxUnavailable(f"the sandbox does not start: {reason or 'it gives no reason'}")

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
                    self._check_usage()
        finally:
            self.reader.remove_wake(descriptor)
            os.close(descriptor)

    def check_flood(self) -> None:
        """Raise ToolFailed when the tool wrote far more than is kept."""
        if any(output.total > self.limits.flood_factor * output.limit for output in self.outputs):
            raise ToolFailed("the tool wrote more output than is read")

    def _check_usage(self) -> None:
        pids = tree_of(self.process.pid)
        if len(pids) > self.limits.processes + _SANDBOX_PROCESSES:
            raise ToolFailed(f"the tool started more than {self.limits.processes} processes")
        if self._exceeds_memory(pids):
            raise ToolFailed(
                f"the tool's processes took more than {self.limits.tree_memory_bytes} bytes of memory"
            )
        if self.cell.scratch_in_use(pids) > self.limits.scratch_bytes:
            raise ToolFailed(
                f"the tool wrote more than {self.limits.scratch_bytes} bytes of files, or too many"
            )

    def _exceeds_memory(self, pids: list[int]) -> bool:
        files = self.cell.memory_of_files(pids)
        # `files` includes mapped files of a tmpfs already
        held = held_by(pids)
        if held.own + max(held.shared, files) <= self.limits.tree_memory_bytes:
            return False
        exact = shares_of(pids)
        return exact.own + max(exact.shared, files) > self.limits.tree_memory_bytes


def _spawn(start: SandboxStart, pipes: Mapping[str, _Pipe]) -> "subprocess.Popen[bytes]":
    """Start the sandbox, and close the ends of the pipes that it uses."""
    process = subprocess.Popen(
        start.argv,
        cwd=start.directory,
        env=dict(start.environment),
        stdin=subprocess.DEVNULL,
        stdout=pipes["stdout"].write,
        stderr=pipes["stderr"].write,
        pass_fds=start.descriptors,
        start_new_session=True,
    )
    for name in ("stdout", "stderr", "report", "ready"):
        pipes[name].close_write()
    pipes["go"].close_read()
    return process


def _run_to_end(watch: _ToolWatch, pipes: Mapping[str, _Pipe], *, stderr: _Output, is_keeper: bool) -> float:
    """Start the tool once its sandbox is ready, watch it, and end the sandbox; return how long the tool ran."""
    init: int | None = None
    try:
        watch.until_ready(pipes["ready"].read, stderr)
        init = None if is_keeper else _init_of(watch.process.pid)
        started = time.monotonic()
        _send_go(pipes["go"].write)
        watch.until_ended(started + watch.limits.wall_seconds)
        seconds = time.monotonic() - started
    finally:
        pipes["go"].close_write()
        _end(watch.process, init, is_keeper=is_keeper)
        if init is not None:
            os.close(init)
    while watch.reader.read(0):
        watch.check_flood()
    return seconds


def _send_go(descriptor: int) -> None:
    try:
        os.write(descriptor, b"g")
    except BrokenPipeError:
        return


def _end(process: "subprocess.Popen[bytes]", init: int | None, *, is_keeper: bool) -> None:
    """End the sandbox and wait until it has ended.

    A keeper ends all processes when the worker closes its pipe. The first process of a pid namespace takes all others
    with it, and has ended only when they have.
    """
    try:
        if init is not None:
            signal.pidfd_send_signal(init, signal.SIGKILL)
        elif not is_keeper:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(_END_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    except ProcessLookupError:
        process.wait()
    if init is not None:
        select.select([init], [], [], _END_SECONDS)


def _init_of(pid: int) -> int | None:
    """Return a pidfd of the only child of a process."""
    try:
        return os.pidfd_open(children_of(pid)[0])
    except (IndexError, ProcessLookupError):
        return None


def _exit_code(returncode: int) -> int:
    return returncode if returncode >= 0 else 128 - returncode
