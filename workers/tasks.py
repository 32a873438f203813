"""The Celery tasks: plan, step, judge; what each writes in the transaction that stores its outcome."""

import time
from collections.abc import Sequence
from typing import Any

import structlog
from celery import Signature
from celery.app.task import Context
from sqlalchemy import Connection

from orchestrator.memory.steps import Claim
from orchestrator.memory.webhooks import Ticket
from orchestrator.models.errors import MustWait, OctoError, OutputTooLarge, Stopped
from orchestrator.models.execution_state import StepKind, TaskStatus
from orchestrator.models.step_result import ResultStatus, StepResult
from orchestrator.orchestrator import Transition
from orchestrator.process import crash_point
from orchestrator.process.crash_point import Point
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
        loop = process.of(self.app).process.loop
        planned_at = carried.planned_at
        seconds = None if planned_at is None else lambda: time.monotonic() - planned_at
        return _follow(carried, loop.adopt(conn, carried.claim, plan, routes=routes, routing_seconds=seconds))


class StepWork(Work):
    """Does a step; its hook completes it and releases what it unblocked into the same chord."""

    abstract = True

    def conclude(
        self, conn: Connection, carried: Carried, outcome: Any, settings: Settings
    ) -> Sequence["Signature[Any]"]:
        """Complete the step and return the steps that it released."""
        loop = process.of(self.app).process.loop
        return _follow(carried, loop.complete(conn, carried.claim, outcome))


class JudgeWork(Work):
    """Judges a round; its hook ends the task or saves the next round."""

    abstract = True

    def conclude(
        self, conn: Connection, carried: Carried, outcome: Any, settings: Settings
    ) -> Sequence["Signature[Any]"]:
        """Let the verdict take effect, once a round."""
        if isinstance(outcome, StepResult):
            return _fail_task(conn, carried, outcome, kind="judge_failed")
        worker, keeping = process.of(self.app).process, carried.keeping
        admission = keeping.admission if keeping else None
        transition = worker.loop.conclude(conn, carried.claim, outcome, admission=admission)
        messages = _follow(carried, transition)

        def tell() -> None:
            transition.report()
            if transition.ended is not None and transition.ended.status is TaskStatus.COMPLETED:
                result_cache.remember(worker, keeping)

        carried.tell = tell
        return messages


def _follow(carried: Carried, transition: Transition) -> Sequence["Signature[Any]"]:
    """Return what the backend publishes after the commit, and leave the report for `after_return`."""
    carried.tell = transition.report
    return transition.messages


def _reuse(conn: Connection, carried: Carried, reuse: Reuse) -> Sequence["Signature[Any]"]:
    loop = process.of(app).process.loop
    return _follow(carried, loop.answer(conn, carried.claim, reuse.source, entry=reuse.entry))


def _fail_task(
    conn: Connection, carried: Carried, outcome: StepResult, *, kind: str
) -> Sequence["Signature[Any]"]:
    loop = process.of(app).process.loop
    return _follow(carried, loop.fail(conn, carried.claim, error=outcome.error or {}, kind=kind))


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
    deliver(process.of(app).process, Ticket(task_id, seq, attempt_number))
