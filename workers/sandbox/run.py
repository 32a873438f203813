"""Runs one tool in a sandbox: started by a handshake, watched, read, and ended with all that it started."""

import os
import select
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from orchestrator.models.errors import SandboxUnavailable, ToolFailed, ToolTimeout
from workers.sandbox.backend import Cell, Start, Wires
from workers.sandbox.limits import Limits
from workers.sandbox.memory import children_of, held_by, shares_of, tree_of
from workers.sandbox.streams import Stream, Streams

_TICK_SECONDS = 0.05
_LOOK_SECONDS = 0.25
_START_SECONDS = 30.0
_END_SECONDS = 10.0
_SANDBOX_PROCESSES = 2


@dataclass(frozen=True)
class Finished:
    """How a tool ended: its exit code, 128 + n for signal n; the first bytes of what it wrote."""

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
    limits: Limits,
    checkpoint: Callable[[], None],
) -> Finished:
    """Run `argv` in the cell with `environment` alone; call from a thread that lives as long as the tool.

    `checkpoint` is called several times a second and raises what is to end the tool. Raises ToolTimeout at
    `limits.wall_seconds`, ToolFailed for a tool that takes too much, and SandboxUnavailable when the sandbox does
    not stand. In every case nothing of the tool is left when this returns.
    """
    with ExitStack() as kept:
        pipes = {name: kept.enter_context(_pipe()) for name in ("stdout", "stderr", "report", "ready", "go")}
        wires = Wires(go=pipes["go"].read, ready=pipes["ready"].write, report=pipes["report"].write)
        start = cell.start(argv, environment, wires)
        bounds = {"stdout": limits.output_bytes, "stderr": limits.output_bytes, "report": limits.report_bytes}
        streams = {name: Stream(pipes[name].read, bound) for name, bound in bounds.items()}
        reader = Streams(streams.values())
        kept.callback(reader.close)
        process = _spawn(start, pipes)
        watch = _Watch(cell, process, limits, checkpoint, list(streams.values()), reader)
        seconds = _see_through(watch, pipes, stderr=streams["stderr"], is_keeper=start.is_keeper)
    kept_bytes = {name: bytes(stream.kept) for name, stream in streams.items()}
    return Finished(_exit_code(process.returncode), **kept_bytes, seconds=round(seconds, 3))


def _spawn(start: Start, pipes: "Mapping[str, _Pipe]") -> "subprocess.Popen[bytes]":
    """Start the sandbox, and keep only our ends of the pipes."""
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


def _see_through(watch: "_Watch", pipes: "Mapping[str, _Pipe]", *, stderr: Stream, is_keeper: bool) -> float:
    """Let the tool go once its sandbox stands, watch it, and end the sandbox; return how long the tool ran."""
    init: int | None = None
    try:
        watch.until_ready(pipes["ready"].read, stderr)
        init = None if is_keeper else _init_of(watch.process.pid)
        started = time.monotonic()
        _say_go(pipes["go"].write)
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
class _Watch:
    cell: Cell
    process: "subprocess.Popen[bytes]"
    limits: Limits
    checkpoint: Callable[[], None]
    streams: list[Stream]
    reader: Streams

    def until_ready(self, ready: int, stderr: Stream) -> None:
        """Wait until the launcher stands in its sandbox: from then on nothing outlives this process."""
        give_up = time.monotonic() + _START_SECONDS
        while not select.select([ready], [], [], _TICK_SECONDS)[0]:
            self.checkpoint()
            if time.monotonic() > give_up:
                raise SandboxUnavailable(f"the sandbox did not start within {_START_SECONDS:g} s")
        if os.read(ready, 1) != b"r":
            self.process.wait(_END_SECONDS)
            while self.reader.read(0):
                pass
            said = bytes(stderr.kept).decode("utf-8", "replace").strip()[:500]
            raise SandboxUnavailable(f"the sandbox does not start: {said or 'it says no reason'}")

    def until_ended(self, end: float) -> None:
        """Read until the tool ends; it stays a zombie, so that its number can't be given to another."""
        looked = time.monotonic()
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
                if now > looked + _LOOK_SECONDS:
                    looked = now
                    self._check_held()
        finally:
            self.reader.remove_wake(descriptor)
            os.close(descriptor)

    def check_flood(self) -> None:
        """Raise ToolFailed when a stream holds more than anybody reads."""
        if any(stream.total > self.limits.flood_factor * stream.limit for stream in self.streams):
            raise ToolFailed("the tool wrote more output than is read")

    def _check_held(self) -> None:
        pids = tree_of(self.process.pid)
        if len(pids) > self.limits.processes + _SANDBOX_PROCESSES:
            raise ToolFailed(f"the tool started more than {self.limits.processes} processes")
        if self._takes_too_much(pids):
            raise ToolFailed(
                f"the tool's processes took more than {self.limits.tree_memory_bytes} bytes of memory"
            )
        if self.cell.scratch_in_use(pids) > self.limits.scratch_bytes:
            raise ToolFailed(
                f"the tool wrote more than {self.limits.scratch_bytes} bytes of files, or too many"
            )

    def _takes_too_much(self, pids: list[int]) -> bool:
        files = self.cell.memory_of_files(pids)
        # mapped files of a tmpfs are among `files` already
        held = held_by(pids)
        if held.own + max(held.shared, files) <= self.limits.tree_memory_bytes:
            return False
        exact = shares_of(pids)
        return exact.own + max(exact.shared, files) > self.limits.tree_memory_bytes


def _say_go(descriptor: int) -> None:
    try:
        os.write(descriptor, b"g")
    except BrokenPipeError:
        return


def _end(process: "subprocess.Popen[bytes]", init: int | None, *, is_keeper: bool) -> None:
    """See the sandbox to its end. A keeper ends all when the worker's pipe is closed; a namespace's first
    process takes all others with it, and has ended only when they have."""
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
    """Return a descriptor of the one child of a process."""
    try:
        return os.pidfd_open(children_of(pid)[0])
    except (IndexError, ProcessLookupError):
        return None


def _exit_code(returncode: int) -> int:
    return returncode if returncode >= 0 else 128 - returncode
