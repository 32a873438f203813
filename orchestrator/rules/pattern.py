"""Compiles regular expressions that others wrote, in RE2: time grows only linearly with the text."""

from functools import lru_cache
from typing import Protocol, cast

import re2

MAX_PATTERN_CHARACTERS = 500


class Pattern(Protocol):
    """What we ask of a compiled expression; a search takes time in proportion to the text and to `programsize`."""

    programsize: int

    def search(self, text: str) -> object | None:
        """Return a match anywhere in `text`, or None."""
        ...


@lru_cache(maxsize=256)
def compile_pattern(expression: str) -> Pattern:
    """Compile `expression` (RE2: no backreferences, no look-around); raises ValueError saying why not."""
    if len(expression) > MAX_PATTERN_CHARACTERS:
        raise ValueError(f"a pattern may have at most {MAX_PATTERN_CHARACTERS} characters")
    options = re2.Options()
    options.log_errors = False
    try:
        return cast("Pattern", re2.compile(expression, options))
    except re2.error as fault:
        raise ValueError(f"not a pattern of RE2's syntax: {_words(fault)}") from fault


def _words(fault: Exception) -> str:
    cause = fault.args[0] if fault.args else ""
    return cause.decode("utf-8", "replace") if isinstance(cause, bytes) else str(cause)
