"""The main loop: the life of a task from its submission to its end. Start reading here.

    submit   The API: Orchestrator.submit answers the task from the cache (cache/), or saves it (lifecycle/submission)
             and publishes its planning (queue/).
    plan     A planner's worker makes a plan (planner/)
    route    and chooses an arm for each step (router.py).
             TaskLoop.adopt saves both as the first round (executor.py) and publishes the round's first steps.
    execute  The arms' workers run the steps (workers/attempt, workers/arms).
             TaskLoop.complete closes each step (executor.py) and publishes the steps that it released.
    judge    When all steps have ended, a judge's worker checks the results (workers/arms/judge).
             TaskLoop.conclude saves the verdict (conclusion.py), and then
    repair   saves a new round with the faulty steps (lifecycle/repair) and publishes it: back to execute,
    replan   or has a model's plan made again (lifecycle/replan): back to plan,
    finish   or ends the task (lifecycle/ending).
    store    Each transition is one transaction in Postgres (memory/); a passed result also goes to the cache (cache/).

A transition's messages are published after its commit, then it is reported to watchers, metrics and the log. When a
process dies in between, the sweeper publishes the messages.

Everything else that happens to a task is in lifecycle/: retry, cancel, requeue, withdrawal, ending at a deadline.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import redis
import structlog
from celery import Celery, Signature
from sqlalchemy import Connection, Engine

from orchestrator import conclusion, executor, shortcut
from orchestrator.auth import credential
from orchestrator.auth.jwks import KeySet
from orchestrator.auth.rate_limit import RateLimiter
from orchestrator.cache.admission import Admission
from orchestrator.cache.coalescing import FreshResult
from orchestrator.cache.exact import CacheEntry, ResultCache
from orchestrator.conclusion import PlanAsked
from orchestrator.executor import StepCompletion
from orchestrator.lifecycle import approvals, cancel, retry, submission, withdrawal
from orchestrator.lifecycle.approvals import DecisionMade
from orchestrator.lifecycle.backpressure import Backpressure
from orchestrator.lifecycle.ending import Ended
from orchestrator.lifecycle.saved_round import SavedRound
from orchestrator.lifecycle.schedule_fires import Fired, Firing
from orchestrator.lifecycle.submission import Submitted
from orchestrator.lifecycle.withdrawal import WithdrawnHit
from orchestrator.memory.claims import Claim
from orchestrator.memory.hints import Hints
from orchestrator.memory.steps import Fenced, StepMessage
from orchestrator.memory.tasks import TaskRecord
from orchestrator.models.approval import Decision
from orchestrator.models.caller import Caller
from orchestrator.models.errors import BudgetExceeded
from orchestrator.models.execution_state import StepState
from orchestrator.models.fork import Fork
from orchestrator.models.loop import Spread
from orchestrator.models.plan import Plan
from orchestrator.models.step_result import StepResult
from orchestrator.models.task_contract import Contract
from orchestrator.models.verdict import Verdict
from orchestrator.observability import metric, tracing
from orchestrator.process import crash_point
from orchestrator.process.crash_point import Point
from orchestrator.queue import canvas
from orchestrator.settings import Settings

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Orchestrator:
    """The API's half of the loop: what a client does to a task, and the connections of an API process."""

    settings: Settings
    engine: Engine
    redis: redis.Redis
    hints: Hints
    limiter: RateLimiter
    backpressure: Backpressure
    cache: ResultCache
    provider: KeySet | None
    app: Celery = field(repr=False)

    @cached_property
    def ticket_secret(self) -> bytes:
        """Return the key that signs stream tickets."""
        return credential.ticket_secret(self.settings)

    @cached_property
    def link_secret(self) -> bytes:
        """Return the key that signs links to approvals."""
        return credential.link_secret(self.settings)

    @cached_property
    def sign_in_secret(self) -> bytes:
        """The secret that signs codes for signing in to the console."""
        return credential.sign_in_secret(self.settings)

    def submit(self, caller: Caller, contract: Contract) -> Submitted:
        """Answer a task from the cache, or save it and publish its planning; see lifecycle.submission.submit.

        Raises TooManyTasks, TenantLimit or QueueFull when there is no room, except for a task that the cache answers.
        """
        submitted = submission.submit(
            self.engine,
            settings=self.settings,
            caller=caller,
            contract=contract,
            cache=self.cache,
            require_room=lambda: self.backpressure.require_room(caller.tenant),
        )
        return self._publish(submitted, caller)

    def retry(
        self, caller: Caller, *, task_id: str, from_step: str | None = None, fork: Fork | None = None
    ) -> Submitted:
        """Save a task that repeats an ended one, and publish it; see lifecycle.retry.retry. Raises like `submit`."""
        self.backpressure.require_room(caller.tenant)
        submitted = retry.retry(
            self.engine,
            settings=self.settings,
            caller=caller,
            task_id=task_id,
            from_step=from_step,
            fork=fork,
        )
        return self._publish(submitted, caller)

    def find_earlier(self, caller: Caller) -> Submitted | None:
        """Return the task of an earlier request with the same idempotency key; see lifecycle.submission."""
        return submission.find_earlier(self.engine, caller)

    def cancel(self, *, tenant: str, task_id: str, reason: str = "") -> tuple[TaskRecord, Sequence[Fenced]]:
        """Cancel a task; return it and the rows that this stopped; see lifecycle.cancel.cancel."""
        task, ended = cancel.cancel(self.engine, tenant=tenant, task_id=task_id, reason=reason)
        if ended is not None:
            report_end(self.hints, ended)
        return task, ended.stopped if ended is not None else ()

    def decide(self, caller: Caller, approval_id: str, decision: Decision) -> DecisionMade:
        """Record a person's decision on an approval, and publish the step if it may run; see lifecycle.approvals."""
        made = approvals.decide(
            self.engine,
            tenant=caller.tenant,
            approval_id=approval_id,
            decision=decision,
            settings=self.settings,
        )
        canvas.publish(self.app, made.messages)
        self.hints.send(made.approval.task_id)
        return made

    def trigger_schedule(self, tenant: str, schedule_id: str, *, once: str | None = None) -> Fired:
        """Fire a schedule now, and publish its task; see lifecycle.schedule_fires.Firing.trigger."""
        firing = Firing(
            self.engine,
            self.settings,
            require_room=self.backpressure.require_room,
            report=lambda ended: report_end(self.hints, ended),
        )
        fired = firing.trigger(tenant, schedule_id, once=once)
        if fired.messages:
            canvas.publish(self.app, fired.messages)
            self.backpressure.add(tenant)
        if fired.event is not None and fired.outcome != "repeated":
            metric.schedule_fired(fired.outcome)
        return fired

    def report_wrong_hit(self, *, tenant: str, task_id: str, reason: str = "") -> WithdrawnHit:
        """Withdraw the cached result that answered a task wrongly; see lifecycle.withdrawal."""
        withdrawn = withdrawal.report_wrong_hit(self.engine, tenant=tenant, task_id=task_id, reason=reason)
        withdrawal.forget(self.cache, withdrawn)
        metric.wrong_hit_reported(withdrawn.layer)
        return withdrawn

    def _publish(self, submitted: Submitted, caller: Caller) -> Submitted:
        if submitted.messages:
            crash_point.here(Point.SUBMITTED_NOT_PUBLISHED)
            canvas.publish(self.app, submitted.messages)
        if not submitted.is_replay:
            metric.cache_asked(submitted.cached.outcome, submitted.cached.layer)
            if submitted.status.is_final():
                tracing.task_answered(submitted.task_id, caller.trace, created_at=submitted.created_at)
            else:
                self.backpressure.add(caller.tenant)
        return submitted


@dataclass(frozen=True)
class Transition:
    """What a transaction of the loop leaves to do after its commit: publish `messages`, then call `report`.

    `ended` is set when the task has ended.
    """

    messages: Sequence["Signature[Any]"]
    report: Callable[[], None]
    ended: Ended | None = None


@dataclass(frozen=True)
class TaskLoop:
    """The workers' half of the loop: what the outcome of planning, of a step and of judging changes.

    Celery's result backend calls these methods to store an outcome: those that end in `_at_once` first, in autocommit
    mode, and where they return None their counterparts, in a transaction. Each raises Refused when the outcome's claim
    is not the current one or the task has ended; then nothing is stored. `open_cache` is called
    only to store an entry, because a sweeper, which has no CACHE_SECRET, uses the loop as well.
    """

    settings: Settings
    hints: Hints
    open_cache: Callable[[], ResultCache]
    app: Celery = field(repr=False)

    def adopt(
        self,
        conn: Connection,
        claim: Claim,
        plan: Plan,
        *,
        routes: Mapping[str, Mapping[str, Any]],
        planned_at: float,
    ) -> Transition:
        """Planned: save the plan's first round and publish its chord; `routes` has the routing decision of each step.

        `planned_at` (time.monotonic()) is when routing began.
        """
        saved = executor.adopt(conn, claim, plan, routes=routes, settings=self.settings)
        report = _planned(plan, saved, planned_at=planned_at)
        return Transition([canvas.round_chord(self.app, saved)], _stopping(self.hints, saved, report))

    def adopt_at_once(
        self,
        conn: Connection,
        claim: Claim,
        plan: Plan,
        *,
        routes: Mapping[str, Mapping[str, Any]],
        planned_at: float,
    ) -> Transition | None:
        """Do what `adopt` does in one statement, and publish the round's first steps; None if that is not possible."""
        saved = shortcut.adopt(
            conn,
            claim,
            plan,
            routes=routes,
            encode_body=lambda judge: canvas.encoded(self.app, judge),
            settings=self.settings,
        )
        if saved is None:
            return None
        return Transition(self._messages(saved.header), _planned(plan, saved, planned_at=planned_at))

    def answer(self, conn: Connection, claim: Claim, source: FreshResult, *, entry: CacheEntry) -> Transition:
        """Found in the cache instead of planned: complete the task with the result of another one."""
        ended = conclusion.complete_by(conn, claim, source, layer=entry.layer)

        def report() -> None:
            metric.cache_asked("hit", entry.layer)
            self.open_cache().put(entry, seconds=source.left_seconds)
            report_end(self.hints, ended)
            log.info("task.reused", layer=entry.layer, source=source.source_id)

        return Transition((), report, ended)

    def complete(self, conn: Connection, claim: Claim, outcome: StepResult | Spread) -> Transition:
        """Executed: close the step and publish the steps that it released; without budget left, end the task.

        A spread adds the items of its for_each.
        """
        result = outcome.result if isinstance(outcome, Spread) else outcome
        if result.error is not None and result.error["code"] == BudgetExceeded.code:
            ended = conclusion.exhaust(conn, claim, result)
            return self._failed(ended, code=BudgetExceeded.code)
        return self._completed(claim, result, executor.complete(conn, claim, outcome, settings=self.settings))

    def complete_at_once(self, conn: Connection, claim: Claim, result: StepResult) -> Transition | None:
        """Do what `complete` does in one statement, and publish the judge that becomes due; None if not possible."""
        completion = shortcut.complete(conn, claim, result, settings=self.settings)
        return None if completion is None else self._completed(claim, result, completion)

    def conclude(
        self, conn: Connection, claim: Claim, verdict: Verdict, *, admission: Admission | None
    ) -> Transition:
        """Judged: finish the task, or publish a repair round or another planning, or reject the result.

        `admission` says what the result may do for other tasks.
        """
        concluded = conclusion.conclude(conn, claim, verdict, settings=self.settings, admission=admission)
        return self._concluded(verdict, concluded)

    def conclude_at_once(
        self, conn: Connection, claim: Claim, verdict: Verdict, *, admission: Admission | None
    ) -> Transition | None:
        """Finish the task in one statement; None for a rejected result, and for a task with more left to end."""
        ended = shortcut.conclude(conn, claim, verdict, admission=admission)
        return None if ended is None else self._concluded(verdict, ended)

    def fail(self, conn: Connection, claim: Claim, *, error: Mapping[str, Any], kind: str) -> Transition:
        """Planning or judging failed for good: end the task with an error of type `kind`."""
        return self._failed(conclusion.fail_task(conn, claim, error=error, kind=kind), code=error.get("code"))

    def _completed(self, claim: Claim, result: StepResult, completion: StepCompletion) -> Transition:
        def report() -> None:
            metric.arm_invoked(claim.arm, result.status.value, completion.seconds)
            error = result.error["code"] if result.error else None
            log.info(f"step.{result.status.value}", seconds=round(completion.seconds, 3), error=error)

        return Transition(self._messages(completion.released), report)

    def _concluded(self, verdict: Verdict, concluded: Ended | SavedRound | PlanAsked) -> Transition:
        decision = verdict.decision.value

        def report() -> None:
            metric.verdict_given(decision)
            if isinstance(concluded, Ended):
                report_end(self.hints, concluded)
                log.info("task.ended", status=concluded.status.value, decision=decision)
            elif isinstance(concluded, PlanAsked):
                metric.replanned()
                log.info("task.replan", decision=decision)
            else:
                metric.repaired()
                log.info("task.repair", decision=decision, released=len(concluded.header))

        if isinstance(concluded, Ended):
            return Transition((), report, concluded)
        if isinstance(concluded, PlanAsked):
            return Transition(self._messages([concluded.planner]), report)
        return Transition([canvas.round_chord(self.app, concluded)], report)

    def _messages(self, rows: Sequence[StepMessage]) -> Sequence["Signature[Any]"]:
        return [canvas.signature(self.app, row) for row in rows]

    def _failed(self, ended: Ended, *, code: str | None) -> Transition:
        def report() -> None:
            report_end(self.hints, ended)
            log.info("task.ended", status=ended.status.value, error=code)

        return Transition((), report, ended)


def _planned(plan: Plan, saved: SavedRound, *, planned_at: float) -> Callable[[], None]:
    def report() -> None:
        metric.routed(time.monotonic() - planned_at)
        log.info("task.planned", steps=len(plan.steps), mode=plan.mode, released=len(saved.header))

    return report


def _stopping(hints: Hints, saved: SavedRound, report: Callable[[], None]) -> Callable[[], None]:
    def stop_and_report() -> None:
        if any(row.former_state == StepState.RUNNING for row in saved.stopped):
            hints.stop(saved.judge.task_id)
        report()

    return stop_and_report


def report_end(hints: Hints, ended: Ended) -> None:
    """Count and trace a task's end, notify its watchers, and stop its running steps. Call it once, after the commit."""
    hints.end(ended.task_id, *(follower.task_id for follower in ended.shared))
    metric.task_ended(ended.status.value, ended.priority, ended.age_seconds)
    tracing.task_ended(ended)
    for follower in ended.shared:
        metric.task_ended(ended.status.value, follower.priority, follower.age_seconds)
    if any(row.former_state == StepState.RUNNING for row in ended.stopped):
        hints.stop(ended.task_id)
