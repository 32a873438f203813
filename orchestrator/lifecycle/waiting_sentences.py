"""Says in sentences what a task and each of its open steps wait for: for what, for whom, and until when."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import assert_never

from orchestrator.memory.tasks import TaskRecord
from orchestrator.memory.waiting import OpenRow
from orchestrator.models.approval import ApprovalKind
from orchestrator.models.errors import BudgetTaken
from orchestrator.models.execution_state import Phase, StepKind, StepState, TaskStatus
from orchestrator.models.model_errors import ModelBusy
from orchestrator.models.wording import count_of
from orchestrator.settings import Settings

_MODEL_PREFIX = "model_"
_MAX_CHARACTERS = 500
_ASKED = {
    ApprovalKind.APPROVAL: "approval",
    ApprovalKind.QUESTION: "an answer",
    ApprovalKind.OUTCOME: "somebody who knows whether its effect happened",
}
_ON_EXPIRY = {"reject": "it is rejected", "approve": "it runs without approval", "fail": "the task fails"}


class WaitKind(StrEnum):
    """What is waited for; RUNNING, PLANNER and JUDGE wait for work that goes on, TASK is the whole task."""

    TASK = "task"
    DEPENDENCY = "dependency"
    WORKER = "worker"
    OUTAGE = "outage"
    SLOT = "slot"
    MODEL_LIMIT = "model_limit"
    BUDGET = "budget"
    APPROVAL = "approval"
    RETRY = "retry"
    RUNNING = "running"
    LEASE = "lease"
    PLANNER = "planner"
    JUDGE = "judge"


@dataclass(frozen=True)
class Sentence:
    """What a step waits for, or with `step` None the task; `until` is when that ends at the latest or is tried again.

    `by` is who must act: a person, a worker, or another task. `approval_id` is of an approval.
    """

    kind: WaitKind
    text: str
    step: str | None = None
    arm: str | None = None
    until: datetime | None = None
    by: str | None = None
    approval_id: str | None = None


def sentences(task: TaskRecord, rows: Sequence[OpenRow], *, settings: Settings) -> list[Sentence]:
    """Return a sentence about the task, then one for each of its open rows; none for a task that has ended.

    `rows` are those of the task that does the work: this one, or the one that it follows.
    """
    if TaskStatus(task.status).is_final():
        return []
    return [_of_task(task, rows), *(_of_row(task, row, settings) for row in rows)]


def _of_task(task: TaskRecord, rows: Sequence[OpenRow]) -> Sentence:
    source = task.worker_id
    if source != task.id:
        text = f"The task waits for the result of task {source}, which does the same work."
        return Sentence(WaitKind.TASK, text, until=task.deadline_at, by=source)
    counts = [
        f"{count} {word}"
        for state, word in (
            (StepState.RUNNING, "running"),
            (StepState.QUEUED, "queued"),
            (StepState.WAITING, "waiting for a person"),
            (StepState.HELD, "waiting for a slot"),
            (StepState.BLOCKED, "waiting for other steps"),
        )
        if (count := sum(row.state == state and row.kind == StepKind.STEP for row in rows))
    ]
    left_out = rows[0].open_rows - len(rows) if rows else 0
    more = f", and {left_out} more open" if left_out else ""
    told = f"{', '.join(counts)}{more}" if counts else "no step is open"
    text = f"The task is {_DOING[Phase(task.phase)]}: {told}. It ends at the latest at {_time(task.deadline_at)}."
    return Sentence(WaitKind.TASK, text, until=task.deadline_at)


_DOING = {
    Phase.ACCEPTED: "accepted",
    Phase.PLANNING: "being planned",
    Phase.EXECUTING: "being executed",
    Phase.JUDGING: "being judged",
    Phase.REPAIRING: "being repaired",
    Phase.FINISHING: "having its answer written",
    Phase.DONE: "done",
}


def _of_row(task: TaskRecord, row: OpenRow, settings: Settings) -> Sentence:
    said = _said(task, row, settings)
    text = f"{_subject(row)} {said.text}"
    shown = text if len(text) <= _MAX_CHARACTERS else f"{text[: _MAX_CHARACTERS - 1]}…"
    return replace(said, step=row.name if row.kind == StepKind.STEP else None, arm=row.arm, text=shown)


def _said(task: TaskRecord, row: OpenRow, settings: Settings) -> Sentence:
    """Return the sentence without its subject."""
    state = StepState(row.state)
    match state:
        case StepState.BLOCKED:
            return _blocked(row)
        case StepState.HELD:
            return _held(row, settings)
        case StepState.WAITING:
            return _asking(row)
        case StepState.QUEUED:
            return _put_off(task, row, settings) if _has_worker(row) else _without_worker(row)
        case StepState.RUNNING:
            return _running(task, row)
        case StepState.DONE | StepState.FAILED | StepState.SKIPPED | StepState.CANCELLED:
            return Sentence(WaitKind.TASK, "has ended.")
        case _:
            assert_never(state)


def _blocked(row: OpenRow) -> Sentence:
    kind = WaitKind.JUDGE if row.kind == StepKind.JUDGE else WaitKind.DEPENDENCY
    if row.kind == StepKind.JUDGE or not row.needs:
        return Sentence(kind, f"waits for {count_of(row.needs, 'open step')}.")
    return Sentence(kind, f"waits for {count_of(row.needs, 'step')}: {_names(row.needed_names, row.needs)}.")


def _held(row: OpenRow, settings: Settings) -> Sentence:
    limit = settings.max_parallel_arms
    if row.holders < limit:
        return Sentence(WaitKind.SLOT, "is about to be queued.")
    held = f"which {_names(row.holder_names, row.holders)} hold"
    return Sentence(WaitKind.SLOT, f"waits for one of the task's {limit} slots (MAX_PARALLEL_ARMS), {held}.")


def _asking(row: OpenRow) -> Sentence:
    if row.expires_at is None or row.asks_for is None:
        return Sentence(
            WaitKind.APPROVAL, "waits until the question to a person is written or its answer is taken in."
        )
    by = f" by {row.assignee}" if row.assignee else ""
    ending = _ON_EXPIRY.get(row.on_expiry or "", "it is rejected")
    text = f"waits for {_ASKED[ApprovalKind(row.asks_for)]}{by} until {_time(row.expires_at)}; then {ending}. {row.ask}"
    return Sentence(
        WaitKind.APPROVAL, text, until=row.expires_at, by=row.assignee, approval_id=row.approval_id
    )


def _has_worker(row: OpenRow) -> bool:
    return row.workers > 0 and row.outage is None


def _without_worker(row: OpenRow) -> Sentence:
    if row.outage is not None:
        until = f" until {_time(row.outage_until)}" if row.outage_until else ""
        text = f"waits for arm {row.arm}{until}: {row.outage}."
        return Sentence(WaitKind.OUTAGE, text, until=row.outage_until)
    if row.withheld:
        return Sentence(
            WaitKind.WORKER, f"waits for arm {row.arm}, whose workers take no work: {row.withheld}."
        )
    return Sentence(WaitKind.WORKER, f"waits for arm {row.arm}, which no worker serves.")


def _put_off(task: TaskRecord, row: OpenRow, settings: Settings) -> Sentence:
    """Say why a queued row with a worker does not run: its time has not come, or others are before it."""
    if row.kills >= settings.poison_step:
        return Sentence(
            WaitKind.WORKER, f"is about to be given up: {count_of(row.kills, 'worker')} died with it."
        )
    if row.not_before is None:
        return _in_line(row, settings)
    code, until = row.tried_code or "", row.not_before
    if code == BudgetTaken.code:
        return Sentence(
            WaitKind.BUDGET, f"waits for budget until {_time(until)}: {_budget(task, row)}.", until=until
        )
    reason = (row.tried_message or "").rstrip(".")
    if code == ModelBusy.code or code.startswith(_MODEL_PREFIX):
        return Sentence(
            WaitKind.MODEL_LIMIT, f"waits for a model until {_time(until)}: {reason}.", until=until
        )
    if reason:
        return Sentence(WaitKind.RETRY, f"is tried again at {_time(until)}: {reason}.", until=until)
    if _has_share(row, settings):
        return replace(_share(row, settings), until=until)
    return Sentence(WaitKind.RETRY, f"is tried again at {_time(until)}.", until=until)


def _budget(task: TaskRecord, row: OpenRow) -> str:
    budget = task.contract.get("budget") or {}
    limit = budget.get("max_tokens")
    told = f"other calls reserve {count_of(row.held_tokens, 'token')}"
    if limit is not None:
        told += f", {max(0, limit - row.spent_tokens - row.held_tokens)} of {limit} are free"
    dollars = budget.get("max_cost_dollars")
    if dollars is not None:
        free = max(0.0, float(dollars) - float(row.spent_cost) - float(row.held_cost))
        told += f"; ${float(row.held_cost):.4f} reserved, ${free:.4f} of ${float(dollars):.4f} free"
    return told


def _in_line(row: OpenRow, settings: Settings) -> Sentence:
    if _has_share(row, settings):
        return _share(row, settings)
    ahead = "more than 2,000 rows are queued" if row.ahead is None else f"{row.ahead} ahead of it"
    if row.busy >= row.slots:
        return Sentence(WaitKind.SLOT, f"waits for arm {row.arm}: all {row.slots} slots are busy, {ahead}.")
    return Sentence(
        WaitKind.SLOT,
        f"is queued for arm {row.arm}: {row.slots - row.busy} of {row.slots} slots are free, {ahead}.",
    )


def _has_share(row: OpenRow, settings: Settings) -> bool:
    """Tell whether its tenant has its share of the slots (octollm_may_run_2)."""
    if row.running_everywhere >= settings.tenant_max_running_steps:
        return True
    return row.has_others and row.slots > 1 and row.running_here >= row.slots - 1


def _share(row: OpenRow, settings: Settings) -> Sentence:
    most = settings.tenant_max_running_steps
    if row.running_everywhere >= most:
        return Sentence(
            WaitKind.SLOT,
            f"waits for its tenant: {most} of its steps run, its share (TENANT_MAX_RUNNING_STEPS).",
        )
    return Sentence(
        WaitKind.SLOT,
        f"waits for its tenant's share of arm {row.arm}: it has {row.running_here} of {row.slots} slots, and the rest "
        "is for other tenants.",
    )


def _running(task: TaskRecord, row: OpenRow) -> Sentence:
    if row.due is not None and row.due < row.read_at:
        then = (
            "a person will be asked whether its effect happened"
            if row.has_effect
            else "another worker will take it over"
        )
        text = f"has lost its worker {row.owner}: the lease ended at {_time(row.due)}, {then}."
        return Sentence(WaitKind.LEASE, text, until=row.due, by=row.owner)
    kind, doing = _ACTIVITIES[StepKind(row.kind)]
    if row.kind == StepKind.JUDGE and task.phase == Phase.FINISHING:
        doing = "is given, and the answer is being written"
    since = f" since {_time(row.started_at)}" if row.started_at else ""
    calling = ""
    if row.called_at is not None:
        calling = f"; a model is asked since {_time(row.called_at)}, {count_of(row.call_tokens or 0, 'token')} reserved"
    return Sentence(kind, f"{doing} by {row.owner}{since}{calling}.", by=row.owner)


_ACTIVITIES = {
    StepKind.STEP: (WaitKind.RUNNING, "is run"),
    StepKind.PLAN: (WaitKind.PLANNER, "is being made"),
    StepKind.JUDGE: (WaitKind.JUDGE, "is being made"),
}


def _subject(row: OpenRow) -> str:
    subjects = {StepKind.PLAN: "The plan", StepKind.JUDGE: "The verdict"}
    return subjects.get(StepKind(row.kind), f"Step {row.name}")


def _names(names: Sequence[str], number: int) -> str:
    others = number - len(names)
    return ", ".join(names) + (f" and {others} more" if others > 0 else "")


def _time(at: datetime) -> str:
    return at.isoformat(timespec="seconds").replace("+00:00", "Z")
