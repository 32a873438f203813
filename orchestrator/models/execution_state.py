"""States of tasks and steps with their only legal moves, and the values between them: plan, result, verdict."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any, Self

from orchestrator.models.record import known

PLAN_STEP = "$plan"
JUDGE_STEP = "$judge"
MAX_STEPS = 50


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
        return cls(**{**known(cls, record), **sequences})


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


class ResultStatus(StrEnum):
    """How an attempt at a step ended."""

    DONE = "done"
    FAILED = "failed"


@dataclass(frozen=True)
class StepResult:
    """What an arm answers: output, where it comes from, and what the judge may rely on.

    `error` is {code, message, retryable, details} of a failed step, else None. `artifact` is the id of the file that
    holds the output where that was too large to be kept here; `output` then is a pointer to it.
    """

    status: ResultStatus
    output: Any = None
    evidence: list[dict[str, Any]] = field(default_factory=list)
    usage: dict[str, Any] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    provenance: dict[str, Any] = field(default_factory=dict)
    error: dict[str, Any] | None = None
    artifact: str | None = None

    def to_record(self) -> dict[str, Any]:
        """Return the result as JSON values."""
        return asdict(self)

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Self:
        """Read back what `to_record` wrote."""
        return cls(**{**known(cls, record), "status": ResultStatus(record["status"])})


class Decision(StrEnum):
    """What the judge says of a round."""

    PASSED = "passed"
    FAILED = "failed"
    INCONCLUSIVE = "inconclusive"


class CheckedBy(StrEnum):
    """Who checked a criterion."""

    RULE = "rule"
    LLM = "llm"
    NOT_CHECKED = "not_checked"


@dataclass(frozen=True)
class Finding:
    """The judge's word on one criterion: `met` is None exactly when nobody could check it.

    `reason` is a code that says why a machine check could not be made: dependency_missing, nothing_to_check,
    unknown_step. What is not `required` is told and decides nothing.
    """

    criterion: str
    met: bool | None
    checked_by: CheckedBy
    explanation: str
    step: str | None = None
    evidence: list[dict[str, Any]] = field(default_factory=list)
    reason: str | None = None
    required: bool = True


@dataclass(frozen=True)
class Verdict:
    """The judge's word on a round; `faulty` names the steps at fault, with feedback for each.

    `coverage` is the share of required criteria that were checked (0 to 1); without any, of the check that all steps
    ended. `confidence` is how sure it is that the result is right: 0 when it was rejected, 1 when rules alone
    show that every required criterion is met, None where nothing measured it.
    """

    decision: Decision
    coverage: float
    confidence: float | None = None
    findings: tuple[Finding, ...] = ()
    faulty: dict[str, str] = field(default_factory=dict)
    output: str = ""
    output_value: Any = None
    warnings: tuple[str, ...] = ()

    def to_record(self) -> dict[str, Any]:
        """Return the verdict as JSON values."""
        return asdict(self)

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Self:
        """Read back what `to_record` wrote."""
        findings = tuple(
            Finding(**{**known(Finding, item), "checked_by": CheckedBy(item["checked_by"])})
            for item in record["findings"]
        )
        return cls(
            decision=Decision(record["decision"]),
            # release 0.1 called the coverage confidence
            coverage=record.get("coverage", record["confidence"]),
            confidence=record["confidence"] if "coverage" in record else None,
            findings=findings,
            faulty=record["faulty"],
            output=record["output"],
            output_value=record["output_value"],
            warnings=tuple(record["warnings"]),
        )
