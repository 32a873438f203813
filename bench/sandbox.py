"""Measures what a sandbox costs: from the call that runs /bin/true to its return, beside a plain child.

Levels are interleaved; quantiles of 40 runs. Exit status 0 if the median of each stays under 50 ms.
"""

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from workers.sandbox.backend import Backend, Isolation, ToolLimits
from workers.sandbox.run import run
from workers.sandbox.selection import backend_of

RUNS: Final = 40
TARGET_MS: Final = 50.0
LIMITS: Final = ToolLimits()


def sandboxed(backend: Backend, inputs: Path) -> None:
    """Run /bin/true as the executor runs its tools."""
    with backend.cell(inputs, LIMITS) as cell:
        finished = run(cell, ["/bin/true"], environment={}, limits=LIMITS, checkpoint=lambda: None)
    assert finished.exit_code == 0, finished.stderr


def main() -> int:
    """Print a line a level."""
    backends = {str(level): backend_of(level) for level in (Isolation.STRONG, Isolation.BASIC)}
    with tempfile.TemporaryDirectory() as name:
        inputs = Path(name, "work")
        inputs.mkdir()
        calls: dict[str, Callable[[], object]] = {
            "plain child": lambda: subprocess.run(["/bin/true"], check=True)
        }
        for level, backend in backends.items():
            if isinstance(backend, str):
                print(f"{level:<12} not here: {backend}")
            else:
                calls[level] = lambda backend=backend: sandboxed(backend, inputs)  # type: ignore[misc]  # bound now
        milliseconds: dict[str, list[float]] = {level: [] for level in calls}
        for _ in range(RUNS):
            for level, call in calls.items():
                began = time.perf_counter()
                call()
                milliseconds[level].append((time.perf_counter() - began) * 1000)
    for level, measured in milliseconds.items():
        middle, late = statistics.median(measured), statistics.quantiles(measured, n=20)[-1]
        print(f"{level:<12} p50 {middle:6.1f} ms   min {min(measured):6.1f} ms   p95 {late:6.1f} ms")
    return int(any(statistics.median(measured) > TARGET_MS for measured in milliseconds.values()))


if __name__ == "__main__":
    sys.exit(main())
