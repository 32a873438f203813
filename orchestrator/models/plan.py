"""A plan: a graph of steps, each the work of one arm, as plain frozen values."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Self

from orchestrator.models.record import known_members

MAX_STEPS = 50


@dataclass(frozen=True)
class PlanStep:
    """One node of a plan: which arm does what, on which inputs, after which steps.

    `inputs` may hold references {"$from": step id, "pointer": JSON pointer into that step's output}.
    `repair_inputs` replace inputs of the same name when a repair round runs the step again. `estimate` is what
    its author expects it to take: tokens, seconds, dollars. Where `required` is false, what the step's action checks
    by itself (Action.met) is told and decides nothing.
    """

    id: str
    arm: str
    action: str
    description: str = ""
    capabilities: tuple[str, ...] = ()
    inputs: dict[str, Any] = field(default_factory=dict)
    depends_on: tuple[str, ...] = ()
    acceptance_criteria: tuple[dict[str, Any], ...] = ()
    repair_inputs: dict[str, Any] | None = None
    timeout_seconds: float | None = None
    optional: bool = False
    required: bool = True
    estimate: dict[str, float] = field(default_factory=dict)

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Self:
        """Read back a step that was written as JSON."""
        sequences = {
            name: tuple(record[name]) for name in ("capabilities", "depends_on", "acceptance_criteria")
        }
        return cls(**{**known_members(cls, record), **sequences})


@dataclass(frozen=True)
class Plan:
    """A checked graph of steps, and how it came to be."""

    steps: tuple[PlanStep, ...]
    mode: str = "client"
    rationale: str = ""
    provenance: dict[str, Any] = field(default_factory=dict)

    def to_record(self) -> dict[str, Any]:
        """Return the plan as JSON values."""
        return asdict(self)

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Self:
        """Read back what `to_record` wrote."""
        steps = tuple(PlanStep.from_record(step) for step in record["steps"])
        return cls(steps, record["mode"], record["rationale"], record["provenance"])
