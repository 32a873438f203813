"""Functions that exceed limits; test_limited runs them in a child."""

import os
import time
from pathlib import Path
from typing import Any

from orchestrator.models.errors import InvalidStepInput


def greet(name: str, *, times: int = 1) -> str:
    """Return a greeting."""
    return f"hello {name}" * times


def hold(count: int) -> int:
    """Allocate that many bytes."""
    return len(bytearray(count))


def spin() -> None:
    """Use the processor for ever."""
    while True:
        pass


def sleep(seconds: float) -> None:
    """Sleep."""
    time.sleep(seconds)


def write(path: str, count: int) -> None:
    """Write a file of that many bytes."""
    Path(path).write_bytes(bytes(count))


def refuse(message: str) -> None:
    """Refuse the input."""
    raise InvalidStepInput(message)


def fail() -> None:
    """Raise an unexpected error."""
    raise KeyError("of a secret")


def crash() -> None:
    """Crash like a defect in C."""
    os.abort()


def nest(depth: int) -> Any:
    """Return nested lists."""
    made: Any = 0
    for _ in range(depth):
        made = [made]
    return made


def pid_after(path: str) -> int:
    """Write this process' pid, then sleep."""
    Path(path).write_text(str(os.getpid()))
    time.sleep(600)
    return 0


def server_pid() -> int:
    """Return the process that forked this one."""
    return os.getppid()


def environment() -> dict[str, str]:
    """Return the environment that a parser has."""
    return dict(os.environ)
