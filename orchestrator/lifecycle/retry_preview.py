"""Says what a retry would do, without doing it: which steps it reuses, which it runs, and what that may cost."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from sqlalchemy import Connection

from orchestrator.lifecycle.fork import may_ask
from orchestrator.lifecycle.retry import RetrySource, RoundReuse, prepare, read_reuse, require_ended
from orchestrator.memory import budget, loops
from orchestrator.memory.budget import UNKNOWN, Spent
from orchestrator.memory.steps import StepOutcome
from orchestrator.memory.tasks import TaskRecord
from orchestrator.models.arm_capability import find_action
from orchestrator.models.execution_state import JUDGE_STEP, StepState
from orchestrator.models.fork import Fork
from orchestrator.models.ids import step_id
from orchestrator.models.loop import EarlierItem
from orchestrator.models.plan import Offer, Plan, PlanStep
from orchestrator.planner.references import is_reference, step_of

REASONS: Final = (
    "from_step",
    "inputs",
    "prompt",
    "model",
    "failed",
    "failed_items",
    "skipped",
    "not_done",
    "depends_on",
)
"""Why a step runs again."""
_ENDED: Final = (StepState.DONE, StepState.FAILED)


@dataclass(frozen=True)
class ReusedStep:
    """A step whose result a retry keeps; `task_id` and `row_id` are of the row that holds it."""

    name: str
    arm: str
    task_id: str
    row_id: str


@dataclass(frozen=True)
class ItemCounts:
    """How many items of a step with for_each a retry reuses and runs."""

    reused: int
    runs: int


@dataclass(frozen=True)
class StepToRun:
    """A step that a retry runs again, and which of REASONS it has.

    `asks`: a person is asked before it runs. `items` is None for a step without for_each, and where the items are not
    known because the list is made again. `spent` is what it used before.
    """

    name: str
    arm: str
    action: str
    reason: str
    asks: bool
    items: ItemCounts | None
    spent: Spent


@dataclass(frozen=True)
class RetryPreview:
    """What a retry would do; `judge` is what the judge used before.

    `is_planned` is false if the task was never planned: a retry of it begins with a plan, and nothing else is known.
    """

    is_planned: bool
    reused: Sequence[ReusedStep] = ()
    runs: Sequence[StepToRun] = ()
    judge: Spent = UNKNOWN

    @property
    def spent(self) -> Spent:
        """Return what the steps that run, and the judge, used before; not known where a part of it is not."""
        return sum((step.spent for step in self.runs), start=self.judge)


def preview(
    conn: Connection, task: TaskRecord, *, from_step: str | None = None, fork: Fork | None = None
) -> RetryPreview:
    """Return what `retry` would do with a task; writes and locks nothing.

    The router may choose another arm than before for a step that runs again; then the items of a for_each that were
    done run, too. Raises InvalidOperation and InvalidInput as `retry` does.
    """
    require_ended(task)
    prepared = prepare(conn, task, tenant=task.tenant, from_step=from_step, fork=fork)
    source, last, plan = prepared.source, prepared.round, prepared.plan
    if source is None or last is None or plan is None:
        return RetryPreview(is_planned=False)
    if source.is_replay:
        return _replayed(plan, prepared.contract.fork)
    reuse = read_reuse(conn, plan, source)
    rows = {row.name: row for row in reuse.outcomes}
    loops_again = _loops_again(conn, plan, source, reuse)
    judge = step_id(source.task_id, round_number=source.round, name=JUDGE_STEP)
    ids = [
        judge,
        *(row.id for row in rows.values()),
        *(one.id for loop in loops_again.values() for one in loop.again),
    ]
    spent = budget.spent_by_row(conn, ids)
    return RetryPreview(
        is_planned=True,
        reused=[
            ReusedStep(row.name, row.arm, row.task_id, row.id)
            for step in plan.steps
            if (row := reuse.kept.get(step.id))
        ],
        runs=[
            _to_run(step, rows.get(step.id), reuse, loops_again.get(step.id), spent)
            for step in plan.steps
            if step.id in reuse.reruns
        ],
        judge=spent.get(judge, Spent()) if last.verdict is not None else UNKNOWN,
    )


def _replayed(plan: Plan, fork: Fork | None) -> RetryPreview:
    """Return what a replay does: all steps run, at no cost; what they cost is not known if models may be asked."""
    cost = UNKNOWN if fork is not None and fork.live_on_miss else Spent()
    runs = []
    for step in plan.steps:
        action = find_action(step.preferred)
        asks = step.approval is not None and (action is None or action.effects != "write")
        runs.append(StepToRun(step.id, step.arm, step.action, "replay", asks, None, cost))
    return RetryPreview(is_planned=True, runs=runs, judge=cost)


@dataclass(frozen=True)
class _LoopAgain:
    """A for_each that runs again: its number of items (None: not known), those reused, those that run `again`."""

    total: int | None
    reused: int
    again: Sequence[EarlierItem] = field(default_factory=list)


def _loops_again(
    conn: Connection, plan: Plan, source: RetrySource, reuse: RoundReuse
) -> dict[str, _LoopAgain]:
    return {
        step.id: _loop_again(
            step,
            loops.earlier_items(conn, source.task_id, round_number=source.round, parent=step.id),
            reuse,
        )
        for step in plan.steps
        if step.for_each is not None and step.id in reuse.reruns
    }


def _loop_again(step: PlanStep, earlier: Sequence[EarlierItem], reuse: RoundReuse) -> _LoopAgain:
    source = reuse.source
    is_whole = source is not None and step.id in source.begins
    reused = [
        one
        for one in earlier
        if one.state == StepState.DONE and not is_whole and not one.bindings.keys() & reuse.reruns
    ]
    again = [one for one in earlier if one not in reused]
    return _LoopAgain(_count(step, earlier, reuse), len(reused), again)


def _count(step: PlanStep, earlier: Sequence[EarlierItem], reuse: RoundReuse) -> int | None:
    """Return how many items a for_each will have; None if its list is made again, or was never read."""
    if not is_reference(step.for_each):
        return len(step.for_each)
    if step_of(step.for_each) in reuse.reruns:
        return None
    row = next((row for row in reuse.outcomes if row.name == step.id), None)
    output = row.result.output if row is not None and row.result is not None else None
    # the gather of a retry's reused step has no items of its own
    count = output.get("count") if isinstance(output, Mapping) else None
    return count if isinstance(count, int) else len(earlier) or None


def _to_run(
    step: PlanStep,
    row: StepOutcome | None,
    reuse: RoundReuse,
    loop: _LoopAgain | None,
    spent: Mapping[str, Spent],
) -> StepToRun:
    offer = row.offer if row is not None else step.preferred
    repeats = step.id in reuse.repeats or any(one.took_effect for one in (loop.again if loop else ()))
    return StepToRun(
        step.id,
        offer.arm,
        offer.action,
        _reason(step, row, reuse),
        repeats or step.approval is not None,
        None if loop is None or loop.total is None else ItemCounts(loop.reused, loop.total - loop.reused),
        _used(offer, row, spent) if loop is None else _used_by_items(offer, loop, spent),
    )


def _reason(step: PlanStep, row: StepOutcome | None, reuse: RoundReuse) -> str:
    if reuse.source is not None and reuse.source.from_step == step.id:
        return "from_step"
    if reuse.source is not None and step.id in reuse.source.touched:
        return reuse.source.touched[step.id]
    if row is not None and row.state is StepState.FAILED:
        return "failed"
    if row is not None and row.failed_items:
        return "failed_items"
    if row is not None and row.is_skipped:
        return "skipped"
    return "depends_on" if set(step.depends_on) & reuse.reruns else "not_done"


def _used(offer: Offer, row: StepOutcome | None, spent: Mapping[str, Spent]) -> Spent:
    """Return what a step used before; not known if it asks a model and never ended."""
    if row is not None and (row.id in spent or row.state in _ENDED or row.is_skipped):
        return spent.get(row.id, Spent())
    return UNKNOWN if may_ask(offer) else Spent()


def _used_by_items(offer: Offer, loop: _LoopAgain, spent: Mapping[str, Spent]) -> Spent:
    if not may_ask(offer):
        return Spent()
    if loop.total != loop.reused + len(loop.again):
        return UNKNOWN
    if any(one.state not in _ENDED and one.id not in spent for one in loop.again):
        return UNKNOWN
    return sum((spent.get(one.id, Spent()) for one in loop.again), start=Spent())
