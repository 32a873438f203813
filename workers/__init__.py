"""The workers' wing; `celery -A workers worker -Q QUEUE` finds the app here.

The app is imported when it is asked for: processes that only parse (see limited_server) start without Celery.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from workers.tasks import app

__all__ = ["app"]


def __getattr__(name: str) -> Any:
    if name == "app":
        return import_module("workers.tasks").app
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
