"""The completion hooks of plan, step and judge: what each writes in the transaction that stores its outcome."""

import time
from collections.abc import Callable, Sequence
from typing import Any

import structlog
from celery import Celery, Signature
from celery.app.task import Context
from sqlalchemy import Connection

from orchestrator import bootstrap, executor
from orchestrator.lifecycle.ending import Ended
from orchestrator.memory.steps import Claim
from orchestrator.models.errors import BudgetExceeded
from orchestrator.models.execution_state import StepKind, TaskStatus
from orchestrator.models.step_result import StepResult
from orchestrator.observability import metric
from orchestrator.queue import canvas
from orchestrator.queue.app import TASK_NAMES
from workers.attempt import result_cache
from workers.attempt.base_task import AttemptState, AttemptTask, WorkFailed
from workers.attempt.concerns.failure import failure
from workers.attempt.judging import JudgedRound
from workers.attempt.planning import RoutedPlan
from workers.attempt.result_cache import ReusedResult

log = structlog.get_logger(__name__)

Messages = Sequence["Signature[Any]"]


class PlanTask(AttemptTask):
    """Plans a task; its hook saves the first round, whose chord is published after the commit."""

    abstract = True

    def complete(
        self, conn: Connection, state: AttemptState, outcome: RoutedPlan | ReusedResult | StepResult
    ) -> Messages:
        """Save the round; end the task with the reused result, or with the failure when there is no plan."""
        if isinstance(outcome, StepResult):
            return _fail_task(self, conn, state, outcome, kind="planning_failed")
        if isinstance(outcome, ReusedResult):
            return self._reuse(conn, state, outcome)
        plan = outcome.plan
        saved = executor.adopt(conn, state.claim, plan, routes=outcome.routes, settings=self.process.settings)

        def report() -> None:
            metric.routed(time.monotonic() - outcome.planned_at)
            log.info("task.planned", steps=len(plan.steps), mode=plan.mode, released=len(saved.header))

        state.after_commit = report
        return [canvas.round_chord(self.app, saved)]

    def _reuse(self, conn: Connection, state: AttemptState, reused: ReusedResult) -> Messages:
        ended = executor.complete_by(conn, state.claim, reused.source, layer=reused.entry.layer)

        def report() -> None:
            metric.cache_asked("hit", reused.entry.layer)
            self.process.cache.put(reused.entry, seconds=reused.source.left_seconds)
            log.info("task.reused", layer=reused.entry.layer, source=reused.source.source_id)

        return _end(self, state, ended, report)


class StepTask(AttemptTask):
    """Runs a step; its hook completes the step and releases what it unblocked into the same chord."""

    abstract = True

    def complete(self, conn: Connection, state: AttemptState, outcome: StepResult) -> Messages:
        """Complete the step and return the released steps; end the task when its budget is used up."""
        claim, error = state.claim, outcome.error["code"] if outcome.error else None
        if error == BudgetExceeded.code:
            ended = executor.exhaust(conn, claim, outcome)
            return _end(
                self, state, ended, lambda: log.info("task.ended", status=ended.status.value, error=error)
            )
        completion = executor.complete(conn, claim, outcome, settings=self.process.settings)

        def report() -> None:
            seconds = completion.finished.seconds
            metric.arm_invoked(claim.arm, outcome.status.value, seconds)
            log.info(f"step.{outcome.status.value}", seconds=round(seconds, 3), error=error)

        state.after_commit = report
        return [canvas.signature(self.app, message) for message in completion.released]


class JudgeTask(AttemptTask):
    """Judges a round; its hook ends the task or saves the next round."""

    abstract = True

    def complete(self, conn: Connection, state: AttemptState, outcome: JudgedRound | StepResult) -> Messages:
        """Apply the verdict, once a round."""
        if isinstance(outcome, StepResult):
            return _fail_task(self, conn, state, outcome, kind="judge_failed")
        verdict, cacheable = outcome.verdict, outcome.cacheable
        concluded = executor.conclude(
            conn,
            state.claim,
            verdict,
            settings=self.process.settings,
            admission=cacheable.admission if cacheable else None,
        )

        def report() -> None:
            metric.verdict_given(verdict.decision.value)
            if isinstance(concluded, Ended):
                bootstrap.tell_end(self.process.hints, concluded)
                if concluded.status is TaskStatus.COMPLETED:
                    result_cache.store(self.process, cacheable)
                log.info("task.ended", status=concluded.status.value, decision=verdict.decision.value)
            else:
                metric.repaired()
                log.info("task.repair", decision=verdict.decision.value, released=len(concluded.header))

        state.after_commit = report
        return [] if isinstance(concluded, Ended) else [canvas.round_chord(self.app, concluded)]


def give_up(app: Celery, claim: Claim, *, code: str, message: str) -> None:
    """Store a failed result for a claimed row, through the backend and the hook as an attempt's own."""
    task: Any = app.tasks[TASK_NAMES[StepKind(claim.kind)]]
    request = Context({"id": claim.id, "task": task.name, "group": claim.chord_id})
    state = AttemptState(claim, failure(code, message))
    request.update(attempt_state=state)
    app.backend.mark_as_failure(claim.id, WorkFailed(code), request=request)
    task.report(state)


def _fail_task(
    task: AttemptTask, conn: Connection, state: AttemptState, outcome: StepResult, *, kind: str
) -> Messages:
    error = outcome.error or {}
    ended = executor.fail_task(conn, state.claim, error=error, kind=kind)
    return _end(
        task,
        state,
        ended,
        lambda: log.info("task.ended", status=ended.status.value, error=error.get("code")),
    )


def _end(task: AttemptTask, state: AttemptState, ended: Ended, report: Callable[[], None]) -> Messages:
    """Report the task's end after the commit, then notify its watchers; there is nothing to publish."""

    def report_and_notify() -> None:
        report()
        bootstrap.tell_end(task.process.hints, ended)

    state.after_commit = report_and_notify
    return []
