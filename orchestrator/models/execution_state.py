"""The states of tasks and steps, and the only legal moves between them."""

from enum import StrEnum

PLAN_STEP = "$plan"
JUDGE_STEP = "$judge"


class TaskStatus(StrEnum):
    """A task's status, as clients see it."""

    QUEUED = "queued"
    PROCESSING = "processing"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"

    def is_final(self) -> bool:
        """Tell whether the task has ended."""
        return self in (TaskStatus.COMPLETED, TaskStatus.FAILED, TaskStatus.CANCELLED)


class Phase(StrEnum):
    """The phase of a task's life; `current_step` is its name for clients."""

    ACCEPTED = "accepted"
    PLANNING = "planning"
    EXECUTING = "executing"
    JUDGING = "judging"
    REPAIRING = "repairing"
    FINISHING = "finishing"
    DONE = "done"

    @property
    def current_step(self) -> str:
        """Return the name of this phase in the client libraries."""
        return _CURRENT_STEP[self]


_CURRENT_STEP = {
    Phase.ACCEPTED: "preprocessing",
    Phase.PLANNING: "planning",
    Phase.EXECUTING: "execution",
    Phase.JUDGING: "validation",
    Phase.REPAIRING: "validation",
    Phase.FINISHING: "synthesis",
    Phase.DONE: "synthesis",
}


class StepKind(StrEnum):
    """The kind of a row in `steps`: make the plan, do a step of it, or judge the round."""

    PLAN = "plan"
    STEP = "step"
    JUDGE = "judge"


class StepState(StrEnum):
    """The state of a row in `steps`; `LEGAL_MOVES` holds the only legal transitions."""

    BLOCKED = "blocked"
    HELD = "held"
    WAITING = "waiting"
    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    SKIPPED = "skipped"
    CANCELLED = "cancelled"

    def is_final(self) -> bool:
        """Tell whether the row can no longer change its state."""
        return not LEGAL_MOVES[self]


_END = frozenset({StepState.DONE, StepState.FAILED, StepState.CANCELLED})
LEGAL_MOVES: dict[StepState, frozenset[StepState]] = {
    StepState.BLOCKED: frozenset({StepState.HELD, StepState.QUEUED, StepState.SKIPPED, StepState.CANCELLED}),
    StepState.HELD: frozenset({StepState.WAITING, StepState.QUEUED, StepState.CANCELLED}),
    # a person decides; the step needs no worker meanwhile
    StepState.WAITING: frozenset({StepState.QUEUED, StepState.CANCELLED}),
    # a step that was queued again may still succeed in its earlier attempt: the first success wins
    StepState.QUEUED: frozenset({StepState.RUNNING}) | _END,
    # whether a step is skipped by its `when` is found out when it is claimed
    StepState.RUNNING: frozenset({StepState.QUEUED, StepState.WAITING, StepState.SKIPPED}) | _END,
    StepState.DONE: frozenset(),
    StepState.FAILED: frozenset(),
    StepState.SKIPPED: frozenset(),
    StepState.CANCELLED: frozenset(),
}
