"""Decides whether a plan can be paid for: what its steps take, by their estimates, against the task's budget."""

from collections.abc import Iterator, Sequence
from decimal import Decimal
from graphlib import TopologicalSorter

from orchestrator.models.arm_capability import ARMS
from orchestrator.models.plan import PlanStep
from orchestrator.models.task_contract import Budget


def shortfalls(steps: Sequence[PlanStep], budget: Budget, *, is_ours: bool = False) -> Iterator[str]:
    """Yield for each budget that the steps can't keep what they take and what there is; the graph has no cycle.

    Seconds are those of the longest path. Of a step that estimates no tokens, a plan of ours counts the least that its
    action takes; a client's counts none, for its budget may be meant to run out.
    """
    tokens = sum(step.estimate.get("tokens", _least(step) if is_ours else 0) for step in steps)
    dollars = sum(Decimal(str(step.estimate.get("dollars", 0))) for step in steps)
    for name, taken, limit in (
        ("max_tokens", tokens, budget.max_tokens),
        ("max_cost_dollars", dollars, budget.max_cost_dollars),
        ("max_time_seconds", _longest(steps), budget.max_time_seconds),
    ):
        if taken > limit:
            yield f"the steps take about {taken:,}, and {name} is {limit:,}"


def _least(step: PlanStep) -> int:
    return ARMS[step.arm].actions[step.action].least_tokens


def _longest(steps: Sequence[PlanStep]) -> float:
    known = {step.id: step for step in steps}
    ends: dict[str, float] = {}
    for name in TopologicalSorter({step.id: step.depends_on for step in steps}).static_order():
        begins = max((ends[source] for source in known[name].depends_on), default=0)
        ends[name] = begins + known[name].estimate.get("seconds", 0)
    return max(ends.values(), default=0)
