"""Makes a server process start fast and stay small: without libraries that it does not use, without garbage runs."""

import gc
import sys
from typing import Final

UNUSED: Final = ("opentelemetry", "psutil", "pygments", "rich", "yaml")
"""Optional parts of libraries that we use, such as structlog's tracebacks in colour; about 15 MB and 0.2 s together."""


def start_lean() -> None:
    """Make imports of UNUSED fail as if these were not installed, and do not collect garbage before `settle`.

    Call it before any other import. While modules are imported nearly all objects stay, and looking for garbage among
    them takes a tenth of the time.
    """
    gc.disable()
    for name in UNUSED:
        sys.modules.setdefault(name, None)  # type: ignore[arg-type]  # Python's own way to forbid an import


def allow(name: str) -> None:
    """Let a library of UNUSED be imported after all, by code that needs it; call it before that import."""
    if sys.modules.get(name, sys) is None:
        del sys.modules[name]


def settle() -> None:
    """Collect garbage from now on, but not among what exists; call it before children are forked.

    What is never looked at is never written to, so that children share it with their parent.
    """
    gc.freeze()
    gc.enable()
