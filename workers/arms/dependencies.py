"""Tells what code lacks because it is not installed here from what is wrong with the code itself."""

import re
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Any

MAX_NAMED = 50
_RAISED = re.compile(r"^E?[ ]*([A-Za-z_][\w.]*(?:Error|Exception))\b", re.MULTILINE)
_ABSENT = re.compile(r"^E?[ ]*ModuleNotFoundError: No module named '([^'.]{1,100})[^'\n]*'", re.MULTILINE)


def own_modules(root: Path) -> frozenset[str]:
    """Return the names that can be imported from a package's sources, at the top or in src."""
    return frozenset(
        path.stem
        for place in (root, root / "src")
        if place.is_dir()
        for path in place.iterdir()
        if path.is_dir() or path.suffix == ".py"
    )


def named(texts: Iterable[str], *, own: Collection[str]) -> tuple[str, ...]:
    """Return the top-level modules that the texts of tracebacks name as not found, without `own` ones."""
    found = {name for text in texts for name in _ABSENT.findall(text)}
    return tuple(sorted(found - set(own))[:MAX_NAMED])


def explains(traceback: str, *, own: Collection[str]) -> bool:
    """Tell whether a missing module is why it ends as it does: its last exception is that, or an ImportError of it."""
    raised = _RAISED.findall(traceback)
    return bool(
        raised and raised[-1] in ("ModuleNotFoundError", "ImportError") and named([traceback], own=own)
    )


def told(missing: Sequence[str], *, who: str) -> str:
    """Return a sentence that names what is missing; `who` needs it."""
    return f"{who} {', '.join(missing)}, which {'is' if len(missing) == 1 else 'are'} not installed here"


def not_checked(missing: Sequence[str], *, who: str) -> dict[str, Any]:
    """Return what an output says when it shows nothing for want of what is missing."""
    return {"reason": "dependency_missing", "message": told(missing, who=who)}
