"""The completion hooks of plan, step and judge: each hands the attempt's outcome to the main loop."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from celery import Celery, Signature
from celery.app.task import Context
from sqlalchemy import Connection

from orchestrator.memory.claims import Claim
from orchestrator.models.execution_state import StepKind, TaskStatus
from orchestrator.models.loop import Spread
from orchestrator.models.step_result import StepResult
from orchestrator.orchestrator import Transition
from orchestrator.queue.app import TASK_NAMES
from workers.attempt import result_cache
from workers.attempt.base_task import AttemptState, AttemptTask, WorkFailed
from workers.attempt.concerns.failure import failure
from workers.attempt.result_cache import ReusedResult

if TYPE_CHECKING:
    from workers.attempt.judging import JudgedRound
    from workers.attempt.planning import RoutedPlan

Messages = Sequence["Signature[Any]"]


class PlanTask(AttemptTask):
    """Plans a task; its hook saves the first round, whose chord is published after the commit."""

    abstract = True

    def complete(
        self, conn: Connection, state: AttemptState, outcome: "RoutedPlan | ReusedResult | StepResult"
    ) -> Messages:
        """Save the round; end the task with the reused result, or with the failure when there is no plan."""
        loop, claim = self.process.loop, state.claim
        if isinstance(outcome, StepResult):
            return _follow(state, loop.fail(conn, claim, error=outcome.error or {}, kind="planning_failed"))
        if isinstance(outcome, ReusedResult):
            return _follow(state, loop.answer(conn, claim, outcome.source, entry=outcome.entry))
        return _follow(
            state,
            loop.adopt(conn, claim, outcome.plan, routes=outcome.routes, planned_at=outcome.planned_at),
        )

    def complete_at_once(
        self, conn: Connection, state: AttemptState, outcome: "RoutedPlan | ReusedResult | StepResult"
    ) -> Messages | None:
        """Save the round of a new plan, unless steps of it may have begun early."""
        if isinstance(outcome, StepResult | ReusedResult) or outcome.may_have_begun:
            return None
        transition = self.process.loop.adopt_at_once(
            conn, state.claim, outcome.plan, routes=outcome.routes, planned_at=outcome.planned_at
        )
        return None if transition is None else _follow(state, transition)


class StepTask(AttemptTask):
    """Runs a step; its hook completes the step and releases what it unblocked into the same chord."""

    abstract = True

    def complete(self, conn: Connection, state: AttemptState, outcome: StepResult | Spread) -> Messages:
        """Complete the step and return the released steps; end the task when its budget is used up."""
        return _follow(state, self.process.loop.complete(conn, state.claim, outcome))

    def complete_at_once(
        self, conn: Connection, state: AttemptState, outcome: StepResult | Spread
    ) -> Messages | None:
        """Complete the step and return the released steps, or the judge after the last one; None for a spread."""
        if isinstance(outcome, Spread):
            return None
        transition = self.process.loop.complete_at_once(conn, state.claim, outcome)
        return None if transition is None else _follow(state, transition)


class JudgeTask(AttemptTask):
    """Judges a round; its hook ends the task or saves the next round."""

    abstract = True

    def complete(
        self, conn: Connection, state: AttemptState, outcome: "JudgedRound | StepResult"
    ) -> Messages:
        """Apply the verdict, once a round; then store a passed result in the cache."""
        loop, claim = self.process.loop, state.claim
        if isinstance(outcome, StepResult):
            return _follow(state, loop.fail(conn, claim, error=outcome.error or {}, kind="judge_failed"))
        admission = outcome.cacheable.admission if outcome.cacheable else None
        return self._stored(state, outcome, loop.conclude(conn, claim, outcome.verdict, admission=admission))

    def complete_at_once(
        self, conn: Connection, state: AttemptState, outcome: "JudgedRound | StepResult"
    ) -> Messages | None:
        """End the task; then store a passed result in the cache."""
        if isinstance(outcome, StepResult):
            return None
        admission = outcome.cacheable.admission if outcome.cacheable else None
        transition = self.process.loop.conclude_at_once(
            conn, state.claim, outcome.verdict, admission=admission
        )
        return None if transition is None else self._stored(state, outcome, transition)

    def _stored(self, state: AttemptState, outcome: "JudgedRound", transition: Transition) -> Messages:
        def store_and_report() -> None:
            # a client that waits for the end may send the same goal at once, and should find the result
            try:
                if transition.ended is not None and transition.ended.status is TaskStatus.COMPLETED:
                    result_cache.store(self.process, outcome.cacheable)
            finally:
                transition.report()

        state.after_commit = store_and_report
        return transition.messages


def give_up(app: Celery, claim: Claim, *, code: str, message: str) -> None:
    """Store a failed result for a claimed row, through the backend and the hook as an attempt's own."""
    store(app, claim, failure(code, message))


def store(app: Celery, claim: Claim, outcome: StepResult) -> None:
    """Store the outcome of a claimed row for which no arm ran, through the backend and the hook as an attempt's own."""
    task: Any = app.tasks[TASK_NAMES[StepKind(claim.kind)]]
    request = Context({"id": claim.id, "task": task.name, "group": claim.chord_id})
    state = AttemptState(claim, outcome)
    request.update(attempt_state=state)
    if outcome.error is not None:
        app.backend.mark_as_failure(claim.id, WorkFailed(str(outcome.error["code"])), request=request)
    else:
        # the row holds the result
        app.backend.mark_as_done(claim.id, None, request=request, store_result=False)
    task.report(state)


def _follow(state: AttemptState, transition: Transition) -> Messages:
    """Leave the transition's report for after the commit, and return the messages that the backend publishes."""
    state.after_commit = transition.report
    return transition.messages
