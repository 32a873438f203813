"""Builds a round's rows of the steps table from a plan; does no I/O."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from datetime import datetime, timedelta
from typing import Any

from orchestrator.memory.early_steps import EarlyStep
from orchestrator.memory.steps import StepMessage
from orchestrator.models.approval import Gate
from orchestrator.models.arm_capability import ARMS, queue_of
from orchestrator.models.execution_state import JUDGE_STEP, StepKind, StepState
from orchestrator.models.ids import chord_id, step_id
from orchestrator.models.loop import LOOP_ARM, MEMBER, Part, spread_name
from orchestrator.models.plan import Offer, Plan, PlanStep
from orchestrator.models.trace_context import Judgement
from orchestrator.planner.check import path_lengths

JUDGE_ARM = "judge"


@dataclass(frozen=True)
class EarlierLoop:
    """Where a step with for_each ran before: its items there that are done are not run again.

    Of these, the items `again` run again; None: all of them do.
    """

    task_id: str
    round: int
    again: Sequence[int] | None = ()


@dataclass(frozen=True)
class RoundLayout:
    """The steps that a round runs: the whole plan at first, the faulty steps and their descendants in a repair.

    `kept` maps the names of finished steps to the ids of their rows, which belong to earlier rounds or, in the first
    round of a retry, to the task that it repeats. `feedback` maps the faulty steps to the judge's explanation, `routes`
    each step to the arm and the action that do it. `repeats` are steps whose action must not run
    twice and took effect before, or may have. `earlier` is for steps with for_each that ran before. `early` are those
    that began before the plan was complete, by name. `judged` rejected the round that a repair mends.
    """

    task_id: str
    number: int
    priority: int
    routes: Mapping[str, Offer]
    reruns: Collection[str]
    kept: Mapping[str, str] = field(default_factory=dict)
    feedback: Mapping[str, str] = field(default_factory=dict)
    repeats: Collection[str] = ()
    early: Mapping[str, EarlyStep] = field(default_factory=dict)
    earlier: Mapping[str, "EarlierLoop"] = field(default_factory=dict)
    judged: Judgement | None = None

    def row_id(self, name: str) -> str:
        """Return the id of a step's row in this round."""
        early = self.early.get(name)
        return early.id if early else step_id(self.task_id, round_number=self.number, name=name)

    def waits_for(self, name: str) -> bool:
        """Tell whether a step that depends on this one waits for it."""
        if name in self.early:
            return self.early[name].state is not StepState.DONE
        # a dependency that is neither run again nor done is never met: the step stays blocked
        return name in self.reruns or name not in self.kept


def rows(plan: Plan, layout: RoundLayout, *, max_parallel: int) -> list[dict[str, Any]]:
    """Return a round's rows: steps that are queued, waiting, held or blocked, and the judge's row, which is blocked.

    Of the unblocked steps, those that a person must approve wait; of the others, the `max_parallel` ones with the
    longest paths are queued, the rest is held. The kept
    steps of a retry have rows in the state `done`; if all steps are kept, the judge is queued. Early steps keep their
    state, except that a held one is queued like the others.
    """
    lengths = path_lengths(plan)
    steps = [
        row
        for position, step in enumerate(plan.steps)
        if step.id in layout.reruns
        for row in _step_rows(plan, step, layout, position=position, path_length=lengths[step.id])
    ]
    unblocked = [row for row in steps if row["state"] == "held"]
    for row in unblocked:
        if row["gate"] is not None:
            row["state"] = "waiting"
    free = sorted(
        (row for row in unblocked if row["state"] == "held"),
        key=lambda row: (-row["path_length"], row["name"]),
    )
    for row in free[: max(0, max_parallel - sum(row["has_begun"] for row in steps))]:
        row["state"] = "queued"
    reused = [
        _reused_row(step, layout, position=position, path_length=lengths[step.id])
        for position, step in enumerate(plan.steps)
        if layout.number == 1 and step.id in layout.kept
    ]
    is_over = all(row["state"] in ("done", "failed", "blocked") for row in steps)
    return [*reused, *steps, _judge_row(layout, is_due=is_over and bool(layout.early or not steps))]


def messages(rows: Sequence[Mapping[str, Any]]) -> list[StepMessage]:
    """Return the messages of the step rows that join the round's chord, the longest path first.

    These are the queued ones, which are published, those that wait for a person, and early steps that run or were
    published before.
    """
    begun = [
        {**row, "state": StepState.RUNNING.value} if row.get("has_begun") else row
        for row in rows
        if row["state"] in ("queued", "waiting", "running") and row["kind"] == StepKind.STEP
    ]
    begun.sort(key=lambda row: (-row["path_length"], row["name"]))
    return [StepMessage(**{field.name: row[field.name] for field in fields(StepMessage)}) for row in begun]


def early_row(step: PlanStep, layout: RoundLayout, *, position: int) -> dict[str, Any]:
    """Return the row of a step that begins before its plan is complete: of round 0, and of no chord yet."""
    row = _step_row(Plan((step,)), step, layout, position=position, path_length=1)
    return {**row, "chord_id": None}


def judge_message(layout: RoundLayout) -> StepMessage:
    """Return the message of the round's judge: the body of the round's chord."""
    return StepMessage(
        **_common(layout, JUDGE_STEP, JUDGE_ARM), kind=StepKind.JUDGE.value, chord_id=None, spec={}
    )


def _step_rows(
    plan: Plan, step: PlanStep, layout: RoundLayout, *, position: int, path_length: int
) -> list[dict[str, Any]]:
    """Return the row of a step; of one with for_each the spread, which makes the items, and the gather."""
    row = _step_row(plan, step, layout, position=position, path_length=path_length)
    if step.for_each is None:
        return [row]
    earlier = layout.earlier.get(step.id)
    spread = {
        **row,
        **_common(layout, spread_name(step.id), LOOP_ARM),
        "spec": {**row["spec"], MEMBER: Part.SPREAD, "inputs": step.inputs,
                 **({"earlier": asdict(earlier)} if earlier else {})},
        "unblocks": [layout.row_id(step.id)],
        "gate": None,
        "parent": step.id,
    }  # fmt: skip
    gather = {
        **row,
        **_common(layout, step.id, LOOP_ARM),
        "spec": {**row["spec"], MEMBER: Part.GATHER},
        "bindings": {},
        "waiting": 1,
        "state": "blocked",
        "gate": None,
    }
    return [spread, gather]


def _step_row(
    plan: Plan, step: PlanStep, layout: RoundLayout, *, position: int, path_length: int
) -> dict[str, Any]:
    unmet = [name for name in step.depends_on if layout.waits_for(name)]
    followers = [
        other.id if other.for_each is None else spread_name(other.id)
        for other in plan.steps
        if step.id in other.depends_on and other.id in layout.reruns
    ]
    offer = layout.routes[step.id]
    repeats = step.id in layout.repeats
    approval = repetition(step.id, step.approval) if repeats else step.approval
    early = layout.early.get(step.id)
    return {
        **_common(layout, step.id, offer.arm),
        "kind": "step",
        "chord_id": chord_id(layout.task_id, round_number=layout.number),
        "spec": {**_spec(step, offer, position), "inputs": _inputs(step, layout), "approval": approval,
                 "feedback": layout.feedback.get(step.id), **({"repeats": True} if repeats else {}),
                 **({"early": early.state.value} if early else {}),
                 **(layout.judged.to_spec() if layout.judged else {})},
        "bindings": {name: layout.kept.get(name) if name not in layout.reruns else layout.row_id(name)
                     for name in step.depends_on},
        "waiting": len(unmet),
        "unblocks": [layout.row_id(name) for name in followers],
        "path_length": path_length,
        "state": early.state.value if early else "blocked" if unmet else "held",
        "is_early": early is not None,
        "has_begun": early is not None and early.state in (StepState.QUEUED, StepState.RUNNING),
        "gate": "closed" if approval is not None else None,
    }  # fmt: skip


def _reused_row(step: PlanStep, layout: RoundLayout, *, position: int, path_length: int) -> dict[str, Any]:
    offer = layout.routes[step.id]
    return {
        **_common(layout, step.id, offer.arm),
        "kind": "step",
        "chord_id": chord_id(layout.task_id, round_number=layout.number),
        "spec": _spec(step, offer, position),
        "bindings": {},
        "waiting": 0,
        "unblocks": [],
        "path_length": path_length,
        "state": "done",
        "reuses": layout.kept[step.id],
    }


def _spec(step: PlanStep, offer: Offer, position: int) -> dict[str, Any]:
    loops = step.for_each is not None
    once = {"once": True} if not loops and ARMS[offer.arm].actions[offer.action].runs_once else {}
    return {**step.to_record(), **offer._asdict(), "position": position, **once}


def repetition(step: str, approval: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return what a person is asked before an effect happens a second time, whatever the plan and the policy say."""
    asked = approval or {}
    ask = f"Step {step} took effect before, or may have. May it run again?"
    gate = Gate(ask, by=asked.get("by"), expires_in=asked.get("expires_in", Gate.expires_in))
    return gate.to_record()


def _judge_row(layout: RoundLayout, *, is_due: bool) -> dict[str, Any]:
    return {
        **_common(layout, JUDGE_STEP, JUDGE_ARM),
        "kind": "judge",
        "chord_id": None,
        "spec": {},
        "bindings": {},
        "waiting": 0,
        "unblocks": [],
        "path_length": 1,
        "state": "queued" if is_due else "blocked",
    }


def _common(layout: RoundLayout, name: str, arm: str) -> dict[str, Any]:
    return {
        "id": layout.row_id(name),
        "task_id": layout.task_id,
        "round": layout.number,
        "name": name,
        "arm": arm,
        "queue": queue_of(arm),
        "priority": layout.priority,
    }


def _inputs(step: PlanStep, layout: RoundLayout) -> dict[str, Any]:
    if step.id in layout.feedback and step.repair_inputs:
        return {**step.inputs, **step.repair_inputs}
    return step.inputs


def latest_end(
    rows: Iterable[Mapping[str, Any]], *, deadline_at: datetime, contract: Mapping[str, Any]
) -> datetime:
    """Return the latest time to which the waits of a round's rows can put off the task's deadline."""
    work = list(rows)
    waits = [row["spec"]["approval"]["expires_in"] for row in work if row.get("gate") == "closed"]
    # a person may be asked what became of it
    waits += [Gate.expires_in for row in work if row["spec"].get("once")]
    if not waits:
        return deadline_at
    latest = deadline_at + timedelta(seconds=sum(waits))
    limit = contract.get("deadline")
    return latest if limit is None else min(latest, datetime.fromisoformat(limit))
