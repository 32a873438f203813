"""Decides what a retry takes over from the task that it repeats, and what it runs again: pure."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from orchestrator.memory.steps import StepOutcome
from orchestrator.models.execution_state import StepState
from orchestrator.models.plan import Plan
from orchestrator.models.record import known_members
from orchestrator.planner.check import descendants

_MEMBER = "retry"


@dataclass(frozen=True)
class Source:
    """Whose plan and results a task takes over: of an ended task's last round; `from_step` is run again."""

    task_id: str
    round: int
    from_step: str | None

    def to_spec(self) -> dict[str, Any]:
        """Return what the plan row of the new task says of it."""
        return {_MEMBER: asdict(self)}


@dataclass(frozen=True)
class Reuse:
    """What the round runs again, and by name the rows whose results it keeps."""

    reruns: frozenset[str]
    kept: Mapping[str, StepOutcome]


def source_of(plan_spec: Mapping[str, Any]) -> Source | None:
    """Return what a plan row's spec says of the task that it repeats; None for a task that is planned anew."""
    return Source(**known_members(Source, plan_spec[_MEMBER])) if _MEMBER in plan_spec else None


def plan_reuse(plan: Plan, outcomes: Sequence[StepOutcome], *, from_step: str | None = None) -> Reuse:
    """Keep what is done, and run again what is not, `from_step`, and all that depends on either."""
    done = {row.name: row for row in outcomes if row.state is StepState.DONE}
    again = {step.id for step in plan.steps if step.id not in done or step.id == from_step}
    reruns = frozenset(again | descendants(plan, again))
    return Reuse(reruns, {name: row for name, row in done.items() if name not in reruns})
