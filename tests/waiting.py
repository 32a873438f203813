"""Waits for a condition in other processes instead of sleeping for a fixed time, and measures how long work takes."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

Found = TypeVar("Found")


def wait_until(predicate: Callable[[], Found], timeout: float, what: str, *, every: float = 0.02) -> Found:
    """Call `predicate` every `every` seconds until it returns a true value; return that value.

    Raises AssertionError naming `what` after `timeout` seconds.
    """
    give_up = time.monotonic() + timeout
    while not (answer := predicate()):
        if time.monotonic() >= give_up:
            raise AssertionError(f"waited {timeout:g} s in vain for {what}; last answer: {answer!r}")
        time.sleep(every)
    return answer


@contextmanager
def timed(seconds: dict[str, float], what: str) -> Iterator[None]:
    """Write to `seconds` how many of them the block takes, as `what`."""
    began = time.monotonic()
    yield
    seconds[what] = time.monotonic() - began
