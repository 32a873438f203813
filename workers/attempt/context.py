"""AttemptContext: everything that one attempt at a plan, a step or a judgement uses."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from orchestrator.bootstrap import WorkerProcess
from orchestrator.memory.claims import Claim
from orchestrator.models.arm_capability import ARMS, Action
from orchestrator.models.execution_state import StepKind
from orchestrator.models.loop import LOOP_SECONDS, runs_no_arm
from orchestrator.models.model_errors import ReplayMiss
from orchestrator.models.task_contract import Attachment, Contract
from orchestrator.settings import Settings
from workers.arms.base import Assignment, CancelToken
from workers.runtime.process import OpenEmbedder, OpenModels
from workers.sandbox.selection import NOT_TESTED, SandboxStatus

if TYPE_CHECKING:
    from workers.attempt.step_files import StepFiles

Handler = Callable[["AttemptContext"], Any]
"""What an attempt does: returns a RoutedPlan or ReusedResult (plan), a StepResult (step) or a JudgedRound (judge)."""


@dataclass
class Effect:
    """Whether the attempt has begun an effect that must not happen twice; shared by all copies of its context."""

    has_begun: bool = False


@dataclass(frozen=True)
class AttemptContext:
    """One attempt; a concern that changes a value passes on a copy.

    `deadline` and `started_at` are values of time.monotonic(). `stop` is set when the attempt must end. `open_models`
    is None when no model is configured; models and embedder are opened at their first use. `tools` are the tools that
    the step's permit allows. `bound` is the arm's assignment, and `files` what it may put out; bind_inputs sets both.
    `misses` are the requests for which a replay had no answer.
    """

    process: WorkerProcess
    claim: Claim
    contract: Contract
    deadline: float
    started_at: float
    stop: CancelToken
    sandbox: SandboxStatus
    open_models: OpenModels | None
    open_embedder: OpenEmbedder
    tools: tuple[str, ...] | None = None
    bound: Assignment | None = None
    files: "StepFiles | None" = None
    effect: Effect = field(default_factory=Effect)
    misses: list[ReplayMiss] = field(default_factory=list)

    @classmethod
    def of(
        cls,
        process: WorkerProcess,
        claim: Claim,
        *,
        stop: CancelToken | None = None,
        sandbox: SandboxStatus = NOT_TESTED,
        open_models: OpenModels | None = None,
        open_embedder: OpenEmbedder = lambda: None,
    ) -> "AttemptContext":
        """Return the context of a claim made just now; its time starts here."""
        now = time.monotonic()
        return cls(
            process,
            claim,
            contract=Contract.from_record(claim.contract),
            deadline=now + limit_seconds(claim, process.settings),
            started_at=now,
            stop=stop or CancelToken(),
            sandbox=sandbox,
            open_models=open_models,
            open_embedder=open_embedder,
        )

    @property
    def action(self) -> Action:
        """Return the manifest's entry of the step's action."""
        return ARMS[self.claim.arm].actions[self.claim.spec["action"]]

    @property
    def assignment(self) -> Assignment:
        """Return what the arm is asked to do; raises LookupError before bind_inputs."""
        if self.bound is None:
            raise LookupError("bind_inputs must come before whatever reads the assignment")
        return self.bound

    def raise_if_stopped(self) -> None:
        """Raise Stopped when the attempt was stopped, so that its result is discarded.

        The result of a begun effect is kept: the database decides whether it still counts.
        """
        if not self.effect.has_begun:
            self.stop.raise_if_revoked()

    def elapsed_seconds(self) -> float:
        """Return the time since the claim."""
        return time.monotonic() - self.started_at

    def until(self, deadline: float) -> "AttemptContext":
        """Return a copy whose deadline is at most `deadline`."""
        return replace(self, deadline=min(self.deadline, deadline))

    @property
    def attachments(self) -> tuple[Attachment, ...]:
        """Return the files that the contract attaches, in its order; none for a judge."""
        return tuple(Attachment(**file) for file in self.claim.attachments or ())


def limit_seconds(claim: Claim, settings: Settings) -> float:
    """Return how long an attempt may take: its own limit, but not past the task's deadline.

    Planning and judging have time for at least one call to a model.
    """
    own: float
    if claim.kind == StepKind.PLAN:
        own = max(settings.planning_timeout_seconds, settings.llm_timeout_seconds)
    elif claim.kind == StepKind.JUDGE:
        own = max(settings.judging_timeout_seconds, settings.llm_timeout_seconds)
    elif runs_no_arm(claim.spec):
        own = LOOP_SECONDS
    else:
        own = (
            claim.spec.get("timeout_seconds") or ARMS[claim.arm].actions[claim.spec["action"]].timeout_seconds
        )
    return min(float(own), claim.seconds_left)
