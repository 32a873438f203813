"""The worker processes; `celery -A workers worker -Q QUEUE` finds the Celery app here.

The app is imported at its first use, so that processes which only parse files start without Celery.
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
