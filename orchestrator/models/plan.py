"""A plan: a graph of steps, each the work of one arm, as plain frozen values."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Self

from orchestrator.models.loop import DEFAULT_ITEMS
from orchestrator.models.record import known_members

MAX_STEPS = 200


class Offer(NamedTuple):
    """One action of an arm, as something that can do a step."""

    arm: str
    action: str

    def __str__(self) -> str:
        """Return `arm.action`."""
        return f"{self.arm}.{self.action}"


@dataclass(frozen=True)
class PlanStep:
    """One node of a plan: which arm does which action, with which inputs, after which steps.

    `arm` and `action` are those that the plan prefers; the row of the step has those that the router chose. `offers`
    are all that can do the step, the preferred one first; empty when no other can. `excluded` says of those that were
    considered and can't, why: {"arm.action": reason}.
    `inputs` may hold references {"$from": step id, "pointer": JSON pointer into that step's output}.
    `repair_inputs` replace inputs of the same name when a repair round runs the step again. `estimate` is its
    author's estimate of tokens, seconds and dollars. If `required` is false, the criteria that the step's action
    brings itself (Action.met) are reported but do not affect the verdict. `approval` is what a person is asked before
    the step runs (orchestrator.models.approval.Gate as JSON values); None: nobody is asked.
    `for_each` is a list, or a reference to one: the step runs once for each of its items, at most `max_items`, which
    its inputs name as {"$item": pointer}. `when` is a check rule on outputs of earlier steps; when it is not met, the
    step is skipped.
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
    approval: dict[str, Any] | None = None
    for_each: Any = None
    max_items: int = DEFAULT_ITEMS
    when: dict[str, Any] | None = None
    offers: tuple[Offer, ...] = ()
    excluded: dict[str, str] = field(default_factory=dict)

    @property
    def preferred(self) -> Offer:
        """Return the arm and the action that the plan prefers."""
        return Offer(self.arm, self.action)

    def candidates(self) -> Sequence[Offer]:
        """Return all that can do the step, the preferred one first."""
        return self.offers or (self.preferred,)

    def to_record(self) -> dict[str, Any]:
        """Return the step as JSON values; what only some steps have is left out where it is empty."""
        record = dict(vars(self))
        for name in ("offers", "excluded"):
            if not record[name]:
                del record[name]
        if self.for_each is None:
            del record["for_each"], record["max_items"]
        if self.when is None:
            del record["when"]
        return record

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Self:
        """Return the step of a record that `to_record` wrote."""
        sequences = {
            name: tuple(record[name]) for name in ("capabilities", "depends_on", "acceptance_criteria")
        }
        offers = tuple(Offer(*offer) for offer in record.get("offers", ()))
        return cls(**{**known_members(cls, record), **sequences, "offers": offers})


@dataclass(frozen=True)
class Plan:
    """A valid graph of steps, and its origin; `mode` is client, llm or rules.

    `result` is what the task answers: a JSON value in which references stand for outputs. None: the plan does not say.
    """

    steps: tuple[PlanStep, ...]
    mode: str = "client"
    rationale: str = ""
    provenance: dict[str, Any] = field(default_factory=dict)
    result: Any = None

    def to_record(self) -> dict[str, Any]:
        """Return the plan as JSON values."""
        # asdict() copies all inputs, which nobody changes: it took a fifth of the time that saving a round takes
        return {**vars(self), "steps": tuple(step.to_record() for step in self.steps)}

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Self:
        """Return the plan of a record that `to_record` wrote."""
        steps = tuple(PlanStep.from_record(step) for step in record["steps"])
        return cls(steps, record["mode"], record["rationale"], record["provenance"], record.get("result"))
