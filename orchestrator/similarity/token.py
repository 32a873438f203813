"""What a goal is made of: words, numbers, symbols, and spans that are kept to the letter."""

from enum import StrEnum
from typing import NamedTuple


class Kind(StrEnum):
    """How a token may be folded: words most, numbers a little, the rest not at all."""

    WORD = "w"
    NUMBER = "n"
    SYMBOL = "s"
    QUOTE = "q"
    CODE = "c"
    ID = "i"


class Token(NamedTuple):
    """One piece of a goal. `written` is how the goal wrote it; `pause` tells that punctuation stood before it."""

    kind: Kind
    text: str
    written: str
    pause: bool = False
