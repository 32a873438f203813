"""The rows of a step with for_each: a spread, its items, and a gather that has the name of the step."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from orchestrator.models.step_result import ResultStatus, StepResult

MAX_ITEMS: Final = 1_000
"""The most items of a for_each."""
MAX_ITEMS_OF_PLAN: Final = 20_000
"""The most items of all steps of a plan together: each is a row, and each end of one counts those of the round."""
DEFAULT_ITEMS: Final = 100
"""The most items of a for_each that does not say `max_items`."""
LOOP_ARM: Final = "judge"
"""The arm whose workers spread and gather: they may insert steps and sign permits, and the arms' own may not."""
LOOP_SECONDS: Final = 120.0
"""How long a spread or a gather may take."""
FAILED_ITEMS: Final = "failed_with"
"""The member of a gather's evidence that counts the items that failed, by the code of their error."""
MEMBER: Final = "part"
"""The member of a row's spec that says which part of a loop it is."""


class Part(StrEnum):
    """Which part of a loop a row is."""

    SPREAD = "spread"
    ITEM = "item"
    GATHER = "gather"


def part_of(spec: Mapping[str, Any]) -> Part | None:
    """Return which part of a loop the row of a spec is; None for an ordinary step."""
    return Part(spec[MEMBER]) if MEMBER in spec else None


def runs_no_arm(spec: Mapping[str, Any]) -> bool:
    """Tell whether the row of a spec is done without its step's arm: it spreads or gathers."""
    return spec.get(MEMBER) in (Part.SPREAD, Part.GATHER)


def spread_name(step: str) -> str:
    """Return the name of the row that reads a step's list and makes its items."""
    return f"{step}[]"


def item_name(step: str, index: int) -> str:
    """Return the name of the row of an item."""
    return f"{step}[{index}]"


@dataclass(frozen=True)
class EarlierItem:
    """An item of an earlier round, or of the task that a retry repeats; `id` is that of the row with its result.

    `took_effect`: its action must not run twice, and took effect or may have.
    """

    id: str
    index: int
    state: str
    spec: Mapping[str, Any]
    bindings: Mapping[str, str]
    error: Mapping[str, Any] | None
    took_effect: bool


@dataclass(frozen=True)
class Spread:
    """The outcome of a spread that succeeded: the items, in order, and those of earlier rounds by index.

    `reused` maps an item to the row whose result it takes, `earlier` each item to what became of it before.
    """

    result: StepResult
    items: list[Any]
    earlier: Mapping[int, EarlierItem] = field(default_factory=dict)
    reused: frozenset[int] = frozenset()

    @property
    def status(self) -> ResultStatus:
        """Return the status of the spread itself."""
        return self.result.status
