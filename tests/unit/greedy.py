"""Functions that take more than they may, run in a child by test_limited."""

import os
import time
from pathlib import Path
from typing import Any

from orchestrator.models.errors import InvalidStepInput


def greet(name: str, *, times: int = 1) -> str:
    """Return a greeting."""
    return f"hello {name}" * times


def hold(count: int) -> int:
    """Hold that many bytes."""
    return len(bytearray(count))


def spin() -> None:
    """Use the processor without end."""
    while True:
        pass


def sleep(seconds: float) -> None:
    """Wait, and use nothing."""
    time.sleep(seconds)


def write(path: str, count: int) -> None:
    """Write a file of that many bytes."""
    Path(path).write_bytes(bytes(count))


def refuse(message: str) -> None:
    """Find fault with the input."""
    raise InvalidStepInput(message)


def fail() -> None:
    """Have a defect."""
    raise KeyError("of a secret")


def crash() -> None:
    """End as a defect in C does."""
    os.abort()


def nest(depth: int) -> Any:
    """Return lists in lists."""
    made: Any = 0
    for _ in range(depth):
        made = [made]
    return made


def pid_after(path: str) -> int:
    """Tell who runs, then wait for long."""
    Path(path).write_text(str(os.getpid()))
    time.sleep(600)
    return 0


def server_pid() -> int:
    """Return the process that forked this one."""
    return os.getppid()


def environment() -> dict[str, str]:
    """Return what a parser may know of the worker's settings."""
    return dict(os.environ)
