"""States of tasks and steps with their only legal moves, and the values between them: plan, result, verdict."""

from enum import StrEnum

PLAN_STEP = "$plan"
JUDGE_STEP = "$judge"


class TaskStatus(StrEnum):
    """A task's status as clients see it."""

    QUEUED = "queued"
    PROCESSING = "processing"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"

    def is_final(self) -> bool:
        """Tell whether the task has ended."""
        return self in (TaskStatus.COMPLETED, TaskStatus.FAILED, TaskStatus.CANCELLED)


class Phase(StrEnum):
    """Where inside its life a task is; `current_step` is the name that clients are shown."""

    ACCEPTED = "accepted"
    PLANNING = "planning"
    EXECUTING = "executing"
    JUDGING = "judging"
    REPAIRING = "repairing"
    DONE = "done"

    @property
    def current_step(self) -> str:
        """Return the client libraries' word for this phase."""
        return _CURRENT_STEP[self]


_CURRENT_STEP = {
    Phase.ACCEPTED: "preprocessing",
    Phase.PLANNING: "planning",
    Phase.EXECUTING: "execution",
    Phase.JUDGING: "validation",
    Phase.REPAIRING: "validation",
    Phase.DONE: "synthesis",
}


class StepKind(StrEnum):
    """What a row of work is: making the plan, a step of it, or judging the round."""

    PLAN = "plan"
    STEP = "step"
    JUDGE = "judge"


class StepState(StrEnum):
    """Where a row of work is; `LEGAL_MOVES` holds the only legal transitions."""

    BLOCKED = "blocked"
    HELD = "held"
    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    SKIPPED = "skipped"
    CANCELLED = "cancelled"

    def is_final(self) -> bool:
        """Tell whether nothing can happen to the row any more."""
        return not LEGAL_MOVES[self]


_END = frozenset({StepState.DONE, StepState.FAILED, StepState.CANCELLED})
LEGAL_MOVES: dict[StepState, frozenset[StepState]] = {
    StepState.BLOCKED: frozenset({StepState.HELD, StepState.QUEUED, StepState.SKIPPED, StepState.CANCELLED}),
    StepState.HELD: frozenset({StepState.QUEUED, StepState.CANCELLED}),
    # a late success of a step that was queued again counts: first success wins
    StepState.QUEUED: frozenset({StepState.RUNNING}) | _END,
    StepState.RUNNING: frozenset({StepState.QUEUED}) | _END,
    StepState.DONE: frozenset(),
    StepState.FAILED: frozenset(),
    StepState.SKIPPED: frozenset(),
    StepState.CANCELLED: frozenset(),
}
