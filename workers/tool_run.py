"""Runs one tool in a session of its own: limited, watched, output bounded, all of it killed at the end."""

import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from orchestrator.errors import ToolFailed
from workers.arms.base import Assignment

_LAUNCHER = Path(__file__).with_name("launch.py")
_TICK_SECONDS = 0.05
_DRAIN_SECONDS = 1.0
_FLOOD_FACTOR = 16


@dataclass(frozen=True)
class Limits:
    """What one tool may use: CPU seconds and address space of each of its processes, bytes of a file.

    `output_bytes` are kept of each stream; a tool that writes more than 16 times as much is killed.
    """

    cpu_seconds: int = 120
    memory_bytes: int = 4 * 1024**3
    file_bytes: int = 64 * 1024**2
    open_files: int = 256
    output_bytes: int = 1024**2


@dataclass(frozen=True)
class Finished:
    """How a tool ended; `exit_code` is negative for a signal, streams hold their first `output_bytes`."""

    exit_code: int
    stdout: bytes
    stderr: bytes
    seconds: float


@dataclass
class _Stream:
    limit: int
    kept: bytearray = field(default_factory=bytearray)
    total: int = 0

    def take(self, chunk: bytes) -> None:
        self.total += len(chunk)
        self.kept += chunk[: max(self.limit - len(self.kept), 0)]

    def is_flood(self) -> bool:
        return self.total > _FLOOD_FACTOR * self.limit


def run(
    argv: Sequence[str],
    assignment: Assignment,
    *,
    directory: Path,
    environment: Mapping[str, str],
    limits: Limits,
) -> Finished:
    """Run `argv` in `directory` with `environment` alone.

    Raises StepCancelled or ToolTimeout when the assignment ends first, ToolFailed for a flood of output. In
    every case the tool's whole process group is killed before this returns.
    """
    started = time.monotonic()
    process = subprocess.Popen(
        [*_launcher(limits), *argv],
        cwd=directory,
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    pipes = [pipe for pipe in (process.stdout, process.stderr) if pipe is not None]
    streams = {pipe: _Stream(limits.output_bytes) for pipe in pipes}
    try:
        with selectors.DefaultSelector() as selector:
            for pipe in streams:
                selector.register(pipe, selectors.EVENT_READ)
            _watch(process, selector, streams, assignment)
            _kill_group(process)
            _drain(selector, streams)
    finally:
        _kill_group(process)
        process.wait()
        for pipe in streams:
            pipe.close()
    stdout, stderr = (bytes(stream.kept) for stream in streams.values())
    return Finished(process.returncode, stdout, stderr, round(time.monotonic() - started, 3))


def _launcher(limits: Limits) -> list[str]:
    numbers = (limits.cpu_seconds, limits.memory_bytes, limits.file_bytes, limits.open_files, os.getpid())
    return [sys.executable, "-I", "-S", str(_LAUNCHER), *map(str, numbers)]


def _watch(
    process: subprocess.Popen[bytes],
    selector: selectors.BaseSelector,
    streams: Mapping[IO[bytes], _Stream],
    assignment: Assignment,
) -> None:
    """Read until the tool ends; it stays a zombie, so that its group's number can't be given to another."""
    while os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        assignment.checkpoint()
        _read_ready(selector, streams, seconds=_TICK_SECONDS)
        if any(stream.is_flood() for stream in streams.values()):
            raise ToolFailed(f"the tool of step {assignment.name} wrote more output than is read")


def _drain(selector: selectors.BaseSelector, streams: Mapping[IO[bytes], _Stream]) -> None:
    end = time.monotonic() + _DRAIN_SECONDS
    while selector.get_map() and time.monotonic() < end:
        _read_ready(selector, streams, seconds=_TICK_SECONDS)


def _read_ready(
    selector: selectors.BaseSelector, streams: Mapping[IO[bytes], _Stream], *, seconds: float
) -> None:
    if not selector.get_map():
        time.sleep(seconds)
        return
    for key, _ in selector.select(seconds):
        pipe = key.fileobj
        chunk = os.read(key.fd, 65_536)
        if chunk:
            streams[pipe].take(chunk)  # type: ignore[index]  # the key is the pipe that was registered
        else:
            selector.unregister(pipe)


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    if process.returncode is None:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            return
