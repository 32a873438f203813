"""Goals as new users send them, with the files that they attach."""

from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Final
from zipfile import ZipFile

MANUAL: Final = (Path(__file__).parents[2] / "examples" / "manual.md").read_bytes()
FUNCTION: Final = b'''"""Prices."""


def total(prices: list[float], discount: float = 0.0) -> float:
    """Return the sum of the prices less a discount between 0 and 1."""
    if not 0 <= discount <= 1:
        raise ValueError("the discount must be between 0 and 1")
    return sum(prices) * (1 - discount)
'''
OLD: Final = b"id,name,price\n1,apple,10\n2,pear,20\n3,plum,30\n"
NEW: Final = b"id,name,price\n1,apple,10\n2,pear,25\n4,fig,40\n"


def _archive(files: Mapping[str, str]) -> bytes:
    packed = BytesIO()
    with ZipFile(packed, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return packed.getvalue()


PACKAGE: Final = _archive(
    {
        "shop/cart.py": "def add(item):\n    # TODO: check the stock\n    return [item]\n",
        "shop/pay.py": "# TODO(ann): retry a failed payment\ndef pay():\n    return True\n",
        "README.md": "A shop.\n",
    }
)


@dataclass(frozen=True)
class UserGoal:
    """A goal and the files {name: content} that are attached to it."""

    goal: str
    files: Mapping[str, bytes]


SUMMARISE: Final = UserGoal("Summarise the attached document", {"manual.md": MANUAL})
FIND_TODOS: Final = UserGoal("Find all TODOs", {"shop.zip": PACKAGE})
EXPLAIN: Final = UserGoal("Explain this function", {"prices.py": FUNCTION})
WRITE_TESTS: Final = UserGoal("Write unit tests", {"prices.py": FUNCTION})
COMPARE: Final = UserGoal("Compare these two CSV files", {"old.csv": OLD, "new.csv": NEW})
REFUND: Final = UserGoal("How long does a refund take?", {"manual.md": MANUAL})
SIX: Final = (SUMMARISE, FIND_TODOS, EXPLAIN, WRITE_TESTS, COMPARE, REFUND)
