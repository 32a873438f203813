"""Runs a subject in a process of its own, which takes a run as a line of JSON and answers with its times.

The child's side uses the standard library only, since a peer runs in a virtualenv that lacks our packages.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[3]
END_SECONDS = 20.0


@dataclass(frozen=True)
class Drive:
    """The times of one run: each unit's milliseconds at the caller and by the server, and the whole run's seconds."""

    seconds: float
    client_ms: list[float]
    server_ms: list[float] = field(default_factory=list)


class DriverError(RuntimeError):
    """A driver did not start, or a run of it failed."""


class Driver:
    """The parent's side: a running driver, by its standard input and output."""

    def __init__(self, process: "subprocess.Popen[str]", log: Path) -> None:
        self._process = process
        self._log = log
        # {kind: process ids}, as the driver names its processes
        self.roots: dict[str, list[int]] = self._read()["roots"]

    def drive(self, plan: str, count: int, in_flight: int) -> Drive:
        """Run `count` plans, `in_flight` at a time. Raises DriverError."""
        self._process.stdin.write(json.dumps({"plan": plan, "count": count, "in_flight": in_flight}) + "\n")
        self._process.stdin.flush()
        return Drive(**self._read())

    def _read(self) -> Any:
        line = self._process.stdout.readline()
        if not line:
            raise DriverError(f"the driver ended; {self._log} ends with:\n{self._log.read_text()[-2000:]}")
        return json.loads(line)


@contextmanager
def start(argv: Sequence[str], *, log: Path, environ: Mapping[str, str] | None = None) -> Iterator[Driver]:
    """Run a driver until the block ends. Raises DriverError if it does not become ready."""
    with (
        log.open("w") as errors,
        subprocess.Popen(
            argv,
            cwd=ROOT,
            env={**os.environ, **(environ or {})},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        ) as process,
    ):
        try:
            yield Driver(process, log)
        finally:
            _end(process)


def _end(process: "subprocess.Popen[str]") -> None:
    """Close the driver's input, at which it stops the processes that it started and ends."""
    process.stdin.close()
    try:
        process.wait(END_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()


Run = Callable[[str], tuple[float, float | None]]
"""Runs one plan; returns its milliseconds at the caller and, if the server measures them, by the server."""


def serve(run: Run, **roots: int) -> None:
    """Serve runs until standard input ends; `roots` are the processes of the subject by kind, else this one."""
    serve_drives(lambda plan, count, in_flight: in_threads(run, plan, count, in_flight), **roots)


def serve_drives(drive: Callable[[str, int, int], Drive], **roots: int) -> None:
    """Serve whole runs until standard input ends."""
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    _answer(out, {"roots": {kind: [pid] for kind, pid in (roots or {"worker": os.getpid()}).items()}})
    for line in sys.stdin:
        asked = json.loads(line)
        _answer(out, asdict(drive(asked["plan"], asked["count"], asked["in_flight"])))


def in_threads(run: Run, plan: str, count: int, in_flight: int) -> Drive:
    """Run `count` plans in `in_flight` threads."""
    began = time.monotonic()
    with ThreadPoolExecutor(in_flight) as pool:
        times = list(pool.map(lambda _: run(plan), range(count)))
    seconds = time.monotonic() - began
    return Drive(seconds, [one for one, _ in times], [one for _, one in times if one is not None])


def _answer(out: Any, message: Mapping[str, Any]) -> None:
    out.write(json.dumps(message) + "\n")
    out.flush()
