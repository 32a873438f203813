"""Compiles untrusted regular expressions with RE2, whose time is linear in the length of the text."""

from functools import lru_cache
from typing import Protocol, cast

MAX_PATTERN_CHARACTERS = 500


class Pattern(Protocol):
    """A compiled expression; the time of a search is proportional to the text's length times `programsize`."""

    programsize: int

    def search(self, text: str) -> object | None:
        """Return a match anywhere in `text`, or None."""
        ...


@lru_cache(maxsize=256)
def compile_pattern(expression: str) -> Pattern:
    """Compile `expression` (RE2: no backreferences, no look-around). Raises ValueError with the reason."""
    if len(expression) > MAX_PATTERN_CHARACTERS:
        raise ValueError(f"a pattern may have at most {MAX_PATTERN_CHARACTERS} characters")
    import re2  # noqa: PLC0415 - 3 MB that most processes do not need

    options = re2.Options()
    options.log_errors = False
    try:
        return cast("Pattern", re2.compile(expression, options))
    except re2.error as fault:
        raise ValueError(f"not a pattern in RE2 syntax: {_reason(fault)}") from fault


def _reason(fault: Exception) -> str:
    cause = fault.args[0] if fault.args else ""
    return cause.decode("utf-8", "replace") if isinstance(cause, bytes) else str(cause)
