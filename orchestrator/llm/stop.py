"""Says whether the work that this thread asks models for is still wanted."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class _Asked(threading.local):
    is_stopped: Callable[[], bool] | None = None


_ASKED = _Asked()


@contextmanager
def stoppable(is_stopped: Callable[[], bool]) -> Iterator[None]:
    """Let this thread's requests to models end soon after `is_stopped` says so; their connections are closed."""
    _ASKED.is_stopped = is_stopped
    try:
        yield
    finally:
        _ASKED.is_stopped = None


def is_watched() -> bool:
    """Tell whether this thread's requests can be stopped."""
    return _ASKED.is_stopped is not None


def is_stopped() -> bool:
    """Tell whether this thread's requests were stopped."""
    return _ASKED.is_stopped is not None and _ASKED.is_stopped()
