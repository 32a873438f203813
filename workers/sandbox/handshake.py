"""Starts and ends a sandbox: its pipes, the handshake before the tool runs, and the check of what the tool uses."""

import os
import select
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from orchestrator.models.errors import SandboxUnavailable, ToolFailed
from workers.sandbox.backend import Cell, SandboxStart, ToolLimits
from workers.sandbox.process_usage import children_of, held_by, shares_of, tree_of

START_SECONDS = 30.0
_TICK_SECONDS = 0.05
_END_SECONDS = 10.0
# the sandbox's own processes in the tree of a tool
_SANDBOX_PROCESSES = 2


@dataclass
class Pipe:
    """Two descriptors; -1 once closed."""

    read: int
    write: int

    def close_read(self) -> None:
        """Close the end that is read."""
        if self.read >= 0:
            os.close(self.read)
            self.read = -1

    def close_write(self) -> None:
        """Close the end that is written."""
        if self.write >= 0:
            os.close(self.write)
            self.write = -1


@contextmanager
def open_pipe() -> Iterator[Pipe]:
    """Give a pipe, both ends of which are closed at the end."""
    pipe = Pipe(*os.pipe())
    try:
        yield pipe
    finally:
        pipe.close_read()
        pipe.close_write()


@contextmanager
def open_input(content: bytes) -> Iterator[Pipe]:
    """Give a pipe that `content` is read from; it is a deleted file, so that nobody has to write it."""
    with tempfile.TemporaryFile() as file:
        file.write(content)
        file.seek(0)
        pipe = Pipe(os.dup(file.fileno()), -1)
    try:
        yield pipe
    finally:
        pipe.close_read()


def spawn(start: SandboxStart, pipes: Mapping[str, Pipe]) -> "subprocess.Popen[bytes]":
    """Start the sandbox, and close the ends of the pipes that it uses; without a pipe `stdin` it has no input.

    Call it from a thread that lives as long as the sandbox: the kernel ends some sandboxes with it.
    """
    process = subprocess.Popen(
        start.argv,
        cwd=start.directory,
        env=dict(start.environment),
        stdin=pipes["stdin"].read if "stdin" in pipes else subprocess.DEVNULL,
        stdout=pipes["stdout"].write,
        stderr=pipes["stderr"].write,
        pass_fds=start.descriptors,
        start_new_session=True,
    )
    for name in ("stdout", "stderr", "report", "ready"):
        pipes[name].close_write()
    for name in {"go", "stdin"} & pipes.keys():
        pipes[name].close_read()
    return process


def wait_until_ready(ready: int, *, checkpoint: Callable[[], None], seconds: float = START_SECONDS) -> bool:
    """Wait until the launcher runs inside its sandbox: from then on no process outlives the worker.

    Returns False when it could not enter it; its standard error says why. Raises SandboxUnavailable after `seconds`.
    """
    give_up = time.monotonic() + seconds
    while not select.select([ready], [], [], _TICK_SECONDS)[0]:
        checkpoint()
        if time.monotonic() > give_up:
            raise SandboxUnavailable(f"the sandbox did not start within {seconds:g} s")
    return os.read(ready, 1) == b"r"


def not_entered(stderr: bytes) -> SandboxUnavailable:
    """Return the error for a sandbox that could not be entered, with the reason that it gave."""
    reason = stderr.decode("utf-8", "replace").strip()[:500]
    return SandboxUnavailable(f"the sandbox does not start: {reason or 'it gives no reason'}")


def send_go(descriptor: int) -> None:
    """Let the launcher execute the tool; nothing happens when it has ended."""
    try:
        os.write(descriptor, b"g")
    except BrokenPipeError:
        return


def end(process: "subprocess.Popen[bytes]", init: int | None, *, is_keeper: bool) -> None:
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


def init_of(pid: int) -> int | None:
    """Return a pidfd of the only child of a process."""
    try:
        return os.pidfd_open(children_of(pid)[0])
    except (IndexError, ProcessLookupError):
        return None


def check_usage(cell: Cell, pid: int, limits: ToolLimits) -> None:
    """Raise ToolFailed when the processes of a sandbox together use more than they may now."""
    pids = tree_of(pid)
    if len(pids) > limits.processes + _SANDBOX_PROCESSES:
        raise ToolFailed(f"the tool started more than {limits.processes} processes")
    if _exceeds_memory(cell, pids, limits):
        raise ToolFailed(f"the tool's processes took more than {limits.tree_memory_bytes} bytes of memory")
    if cell.scratch_in_use(pids) > limits.scratch_bytes:
        raise ToolFailed(f"the tool wrote more than {limits.scratch_bytes} bytes of files, or too many")


def _exceeds_memory(cell: Cell, pids: list[int], limits: ToolLimits) -> bool:
    files = cell.memory_of_files(pids)
    # `files` includes mapped files of a tmpfs already
    held = held_by(pids)
    if held.own + max(held.shared, files) <= limits.tree_memory_bytes:
        return False
    exact = shares_of(pids)
    return exact.own + max(exact.shared, files) > limits.tree_memory_bytes
