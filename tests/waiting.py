"""Waiting for what other processes do, without sleeping blindly."""

import time
from collections.abc import Callable
from typing import TypeVar

Found = TypeVar("Found")


def wait_until(predicate: Callable[[], Found], timeout: float, what: str, *, every: float = 0.02) -> Found:
    """Ask `predicate` each `every` seconds until its answer is true; return that answer.

    Raises AssertionError naming `what` after `timeout` seconds.
    """
    give_up = time.monotonic() + timeout
    while not (answer := predicate()):
        if time.monotonic() >= give_up:
            raise AssertionError(f"waited {timeout:g} s in vain for {what}; last answer: {answer!r}")
        time.sleep(every)
    return answer
