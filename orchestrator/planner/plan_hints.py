"""Tells a planning model how earlier tasks like its own were planned, and how they ended."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from orchestrator.llm.prompt import Part, Untrusted, trusted
from orchestrator.memory.planned_goals import EarlierPlan
from orchestrator.models.verdict import Decision

MAX_HINTS = 3
MAX_CHARACTERS = 1_000
"""Of all hints together."""
_MAX_GOAL_CHARACTERS = 80
_MAX_HINT_CHARACTERS = MAX_CHARACTERS // MAX_HINTS - 1


def choose_hints(earlier: Sequence[EarlierPlan], actions: Collection[str]) -> list[EarlierPlan]:
    """Return at most MAX_HINTS plans, each with another shape or another ending, all of them of `actions` only.

    A plan with an action that this task's plan may not have is left out. `earlier` is in order of likeness.
    """
    chosen: dict[tuple[str, bool], EarlierPlan] = {}
    for plan in earlier:
        if all(_action_of(step) in actions for step in plan.steps):
            chosen.setdefault((_shape(plan), _ended_well(plan)), plan)
    return list(chosen.values())[:MAX_HINTS]


def describe_hints(hints: Sequence[EarlierPlan]) -> list[Part]:
    """Return the parts of the planner's message for the hints; none without hints.

    A hint is a goal, the actions of the plan's steps by number, and the ending. No input, output or file is told.
    Clients wrote the goals and criteria, so all of it is untrusted.
    """
    if not hints:
        return []
    lines = "\n".join(f"- {_text(hint)}"[:_MAX_HINT_CHARACTERS] for hint in hints)
    return [
        trusted(
            "Earlier tasks like this one: their goals, the numbered steps of their plans, and how they ended. Follow "
            "what passed where the goals agree, and do not repeat what failed:"
        ),
        Untrusted("earlier_plans", lines),
    ]


def hints_record(hints: Sequence[EarlierPlan]) -> list[dict[str, Any]]:
    """Return what the trace tells of the hints: which tasks, and how like theirs the goal is."""
    return [{"task_id": hint.task_id, "likeness": round(hint.likeness, 2)} for hint in hints]


def _text(hint: EarlierPlan) -> str:
    goal = " ".join(hint.goal.split())
    if len(goal) > _MAX_GOAL_CHARACTERS:
        goal = f"{goal[: _MAX_GOAL_CHARACTERS - 1]}…"
    return f'"{goal}": {_shape(hint)}. {" ".join(_ending(hint))}'


def _shape(plan: EarlierPlan) -> str:
    numbers = {step["id"]: number for number, step in enumerate(plan.steps, 1)}
    parts = []
    for number, step in enumerate(plan.steps, 1):
        after = sorted(numbers[name] for name in step["depends_on"] if name in numbers)
        parts.append(
            f"{number} {_action_of(step)}" + (f" after {', '.join(map(str, after))}" if after else "")
        )
    if plan.step_count > len(parts):
        parts.append(f"{plan.step_count - len(parts)} more")
    return "; ".join(parts)


def _ending(plan: EarlierPlan) -> Iterator[str]:
    if plan.corrections:
        yield f"Illegal at first; corrections: {plan.corrections}."
    if _ended_well(plan):
        yield "Passed." if plan.rounds == 1 else f"Passed in round {plan.rounds}."
        return
    yield f"This plan failed: {plan.error_code}." if plan.error_code else "Not all of it was proved."
    numbers = {step["id"]: number for number, step in enumerate(plan.steps, 1)}
    for name, code in (plan.failed or {}).items():
        yield f"Step {numbers.get(name.partition('[')[0], '?')}: {code}."
    for text in plan.unmet:
        yield f"Not met: {' '.join(text.split())}."


def _ended_well(plan: EarlierPlan) -> bool:
    return plan.error_code is None and plan.decision == Decision.PASSED


def _action_of(step: Mapping[str, Any]) -> str:
    return f"{step['arm']}.{step['action']}"
