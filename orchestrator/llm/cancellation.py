"""Cancels this thread's requests to models: a callback says whether their answers are still wanted."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class _Callback(threading.local):
    is_cancelled: Callable[[], bool] | None = None


_CALLBACK = _Callback()


@contextmanager
def cancellable(is_cancelled: Callable[[], bool]) -> Iterator[None]:
    """Close this thread's requests to models soon after `is_cancelled` returns True, within the block."""
    _CALLBACK.is_cancelled = is_cancelled
    try:
        yield
    finally:
        _CALLBACK.is_cancelled = None


def is_cancellable() -> bool:
    """Tell whether this thread's requests can be cancelled."""
    return _CALLBACK.is_cancelled is not None


def is_cancelled() -> bool:
    """Tell whether this thread's requests were cancelled."""
    return _CALLBACK.is_cancelled is not None and _CALLBACK.is_cancelled()
