"""The Celery tasks: plan, step, judge; what each writes in the transaction that stores its outcome."""

import time
from collections.abc import Sequence
from typing import Any

import structlog
from celery import Signature
from celery.app.task import Context
from sqlalchemy import Connection

from orchestrator import bootstrap, executor
from orchestrator.executor import complete_by
from orchestrator.lifecycle.ending import Ended
from orchestrator.memory.steps import Claim
from orchestrator.memory.webhooks import DeliveryLease
from orchestrator.models.errors import BudgetExceeded, MustWait, OctoError, OutputTooLarge, Stopped
from orchestrator.models.execution_state import StepKind, TaskStatus
from orchestrator.models.step_result import ResultStatus, StepResult
from orchestrator.observability import metric
from orchestrator.process import crash_point
from orchestrator.process.crash_point import Point
from orchestrator.queue import canvas
from orchestrator.queue.app import TASK_NAMES, WEBHOOK_TASK, make_app
from orchestrator.settings import Settings
from workers.attempt import attempt, base_task, judging, planning, result_cache, semantic_cache
from workers.attempt.base_task import Carried, Work, WorkFailed
from workers.attempt.result_cache import Reuse
from workers.runtime import containment, presence, process, shutdown
from workers.webhook import deliver

logger = structlog.get_logger(__name__)

app = make_app()
process.connect_signals(app)
presence.connect_signals(app)
shutdown.connect_signals(app)


class PlanWork(Work):
    """Makes a plan; its hook saves the first round, whose chord goes out after the commit."""

    abstract = True

    def conclude(
        self, conn: Connection, carried: Carried, outcome: Any, settings: Settings
    ) -> Sequence["Signature[Any]"]:
        """Save the round, or end the task when there is no plan."""
        if isinstance(outcome, StepResult):
            return _fail_task(conn, carried, outcome, kind="planning_failed")
        if isinstance(outcome, Reuse):
            return _reuse(conn, carried, outcome)
        plan, routes = outcome
        saved = executor.adopt(conn, carried.claim, plan, routes=routes, settings=settings)

        def tell() -> None:
            if carried.planned_at is not None:
                metric.routed(time.monotonic() - carried.planned_at)
            logger.info("task.planned", steps=len(plan.steps), mode=plan.mode, released=len(saved.header))

        carried.tell = tell
        return [canvas.round_chord(self.app, saved)]


class StepWork(Work):
    """Does a step; its hook completes it and releases what it unblocked into the same chord."""

    abstract = True

    def conclude(
        self, conn: Connection, carried: Carried, outcome: Any, settings: Settings
    ) -> Sequence["Signature[Any]"]:
        """Complete the step and return the steps that it released."""
        claim = carried.claim
        if outcome.error is not None and outcome.error["code"] == BudgetExceeded.code:
            return _exhaust(conn, carried, outcome)
        completion = executor.complete(conn, claim, outcome, settings=settings)

        def tell() -> None:
            seconds = completion.finished.seconds
            metric.arm_invoked(claim.arm, outcome.status.value, seconds)
            error = outcome.error["code"] if outcome.error else None
            logger.info(f"step.{outcome.status.value}", seconds=round(seconds, 3), error=error)

        carried.tell = tell
        return [canvas.signature(self.app, message) for message in completion.released]


class JudgeWork(Work):
    """Judges a round; its hook ends the task or saves the next round."""

    abstract = True

    def conclude(
        self, conn: Connection, carried: Carried, outcome: Any, settings: Settings
    ) -> Sequence["Signature[Any]"]:
        """Let the verdict take effect, once a round."""
        if isinstance(outcome, StepResult):
            return _fail_task(conn, carried, outcome, kind="judge_failed")
        admission = carried.keeping.admission if carried.keeping else None
        concluded = executor.conclude(conn, carried.claim, outcome, settings=settings, admission=admission)

        def tell() -> None:
            metric.verdict_given(outcome.decision.value)
            if isinstance(concluded, Ended):
                bootstrap.tell_end(process.of(self.app).process.hints, concluded)
                if concluded.status is TaskStatus.COMPLETED:
                    result_cache.remember(process.of(self.app).process, carried.keeping)
                logger.info("task.ended", status=concluded.status.value, decision=outcome.decision.value)
            else:
                metric.repaired()
                logger.info("task.repair", decision=outcome.decision.value, released=len(concluded.header))

        carried.tell = tell
        return [] if isinstance(concluded, Ended) else [canvas.round_chord(self.app, concluded)]


def _exhaust(conn: Connection, carried: Carried, outcome: StepResult) -> list["Signature[Any]"]:
    ended = executor.exhaust(conn, carried.claim, outcome)

    def tell() -> None:
        bootstrap.tell_end(process.of(app).process.hints, ended)
        logger.info("task.ended", status=ended.status.value, error=BudgetExceeded.code)

    carried.tell = tell
    return []


def _reuse(conn: Connection, carried: Carried, reuse: Reuse) -> list["Signature[Any]"]:
    ended = complete_by(conn, carried.claim, reuse.source, layer=reuse.entry.layer)

    def tell() -> None:
        worker = process.of(app).process
        metric.cache_asked("hit", reuse.entry.layer)
        worker.cache.put(reuse.entry, seconds=reuse.source.left_seconds)
        bootstrap.tell_end(worker.hints, ended)
        logger.info("task.reused", layer=reuse.entry.layer, source=reuse.source.source_id)

    carried.tell = tell
    return []


def _fail_task(
    conn: Connection, carried: Carried, outcome: StepResult, *, kind: str
) -> list["Signature[Any]"]:
    error = outcome.error or {}
    ended = executor.fail_task(conn, carried.claim, error=error, kind=kind)

    def tell() -> None:
        bootstrap.tell_end(process.of(app).process.hints, ended)
        logger.info("task.ended", status=ended.status.value, error=error.get("code"))

    carried.tell = tell
    return []


def give_up(claim: Claim, *, code: str, message: str) -> None:
    """Store a failed outcome for a claimed row, by the same way as a worker's own."""
    request = Context({"id": claim.id, "task": TASK_NAMES[StepKind(claim.kind)], "group": claim.chord_id})
    carried = Carried(claim, attempt.failure(code, message))
    request.update(carried=carried)
    app.backend.mark_as_failure(claim.id, WorkFailed(code), request=request)
    base_task.tell(carried, process.of(app).process.hints)


@app.task(base=PlanWork, bind=True, name=TASK_NAMES[StepKind.PLAN])
def plan(self: PlanWork, /, task_id: str, name: str, *_: object, **__: object) -> dict[str, str]:
    """Plan a task; args are ids, for whoever reads Flower; a newer release may send more."""
    worker = process.of(app).process
    open_models = process.of(app).open_models()
    with self.claimed() as (carried, token, deadline):
        started = time.monotonic()
        try:
            reuse = result_cache.recall(worker, carried.claim) or semantic_cache.find_alias(
                worker,
                carried.claim,
                deadline=deadline,
                is_stopped=token.is_set,
                open_models=open_models,
                open_embedder=lambda: process.of(app).embedder,
            )
            if reuse is not None:
                carried.outcome = reuse
                return {"status": ResultStatus.DONE}
            made = planning.make_plan(
                worker,
                carried.claim,
                deadline=deadline,
                is_stopped=token.is_set,
                open_models=open_models,
            )
        except MustWait as wait:
            attempt.put_off(worker, carried.claim, wait)
        except Stopped as stopped:
            carried.outcome = attempt.out_of_time(worker, carried.claim, token, stopped)
            return {"status": ResultStatus.FAILED}
        except OctoError as error:
            failed = attempt.failure(
                error.code, error.message, retryable=error.retryable, details=error.details
            )
            attempt.retry_later(worker, carried.claim, failed, seconds=time.monotonic() - started)
            carried.outcome = failed
            return {"status": ResultStatus.FAILED}
        carried.planned_at = time.monotonic()
        carried.outcome = made, planning.choose_arms(worker, made)
        return {"status": ResultStatus.DONE}


@app.task(base=StepWork, bind=True, name=TASK_NAMES[StepKind.STEP])
def step(self: StepWork, /, task_id: str, name: str, *_: object, **__: object) -> dict[str, str]:
    """Do one step; args are ids, for whoever reads Flower; a newer release may send more."""
    with self.claimed() as (carried, token, deadline):
        result = attempt.run(
            process.of(app).process,
            carried.claim,
            token,
            deadline=deadline,
            standing=containment.standing_of(app),
            open_models=process.of(app).open_models(),
            open_embedder=lambda: process.of(app).embedder,
        )
        carried.outcome = result
        return {"status": result.status}


@app.task(base=JudgeWork, bind=True, name=TASK_NAMES[StepKind.JUDGE])
def judge(self: JudgeWork, /, task_id: str, name: str, *_: object, **__: object) -> dict[str, str]:
    """Judge a round; args are ids, for whoever reads Flower; a newer release may send more."""
    worker = process.of(app).process
    with self.claimed() as (carried, token, deadline):
        try:
            verdict = judging.judge(
                worker,
                carried.claim,
                deadline=deadline,
                is_stopped=token.is_set,
                open_models=process.of(app).open_models(),
            )
        except MustWait as wait:
            attempt.put_off(worker, carried.claim, wait)
        except Stopped as stopped:
            carried.outcome = attempt.out_of_time(worker, carried.claim, token, stopped)
            return {"status": ResultStatus.FAILED}
        except OutputTooLarge as error:
            carried.outcome = attempt.failure(error.code, error.message)
            return {"status": ResultStatus.FAILED}
        crash_point.here(Point.JUDGED_NOT_FINISHED)
        carried.outcome = verdict
        carried.keeping = result_cache.keep(worker, carried.claim, verdict)
        return {"decision": verdict.decision}


@app.task(name=WEBHOOK_TASK, acks_late=True, ignore_result=True)
def webhook(task_id: str, seq: int, attempt_number: int, *_: object, **__: object) -> None:
    """Tell the end of a task to the address that its contract names."""
    deliver(process.of(app).process, DeliveryLease(task_id, seq, attempt_number))
