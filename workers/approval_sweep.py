"""The sweeper's work on approvals: expires them, warns before that, and stores decisions that need no arm."""

from collections.abc import Sequence

import structlog
from celery.exceptions import Ignore

from orchestrator.bootstrap import WorkerProcess
from orchestrator.chord.database import is_away, statement
from orchestrator.lifecycle import approvals as life
from orchestrator.memory import approvals
from orchestrator.memory.approvals import Overdue, Unsettled
from orchestrator.models.execution_state import StepState
from orchestrator.orchestrator import report_end
from orchestrator.queue import canvas
from workers.attempt.claims import claim_row
from workers.attempt.completion import store

log = structlog.get_logger(__name__)

_UNLIMITED_KILLS = 2**31 - 1


def attend(worker: WorkerProcess, *, limit: int) -> int:
    """Do what is overdue about approvals, at most `limit` of each kind; return how many were found.

    Each is done in its own transaction and checked again there, so any number of sweepers may do this at once.
    """
    with statement(worker.engine) as conn:
        found = approvals.overdue(conn, limit=limit)
    for one in found:
        try:
            if one.what == "expire":
                _expire(worker, one)
            elif one.what == "warn" and life.warn(worker.engine, one.id, task_id=one.task_id):
                worker.hints.send(one.task_id)
        except Exception as error:
            if is_away(error):
                raise
            # one approval whose expiry can't be stored must not hold up those of all other tenants
            log.exception("approval.not_expired", approval_id=one.id, task_id=one.task_id, what=one.what)
    _settle(worker, [one.id for one in found if one.what == "settle"])
    return len(found)


def _expire(worker: WorkerProcess, one: Overdue) -> None:
    expiry = life.expire(worker.engine, one.id, task_id=one.task_id, settings=worker.settings)
    if expiry is None:
        return
    canvas.publish(worker.app, expiry.messages)
    worker.hints.send(one.task_id)
    if expiry.ended is not None:
        report_end(worker.hints, expiry.ended)
    log.info(
        "approval.expired",
        approval_id=one.id,
        task_id=one.task_id,
        state=expiry.approval.state,
        rule=expiry.approval.on_expiry,
    )


def _settle_one(worker: WorkerProcess, one: Unsettled) -> bool:
    """Store the result of a decided step, unless its task has ended; False when it is not this sweeper's turn."""
    if one.has_ended:
        return True
    state = StepState(one.step_state)
    if state is not StepState.QUEUED:
        return state.is_final()
    result = life.result_of(one.approval)
    try:
        claim = claim_row(worker, one.approval.step_id, poison_step=_UNLIMITED_KILLS)
    except Ignore:
        return False  # another sweeper claimed it, or its task ends
    store(worker.app, claim, result)
    return True


def _settle(worker: WorkerProcess, ids: Sequence[str]) -> None:
    """Store the results of decided steps through the backend, as if an arm had made them."""
    if not ids:
        return
    with statement(worker.engine) as conn:
        unsettled = approvals.to_settle(conn, ids)
    done = []
    for one in unsettled:
        try:
            is_done = _settle_one(worker, one)
        except Exception as error:
            if is_away(error):
                raise
            # one decision that can't be stored must not hold up those of all other tenants
            log.exception("approval.not_settled", approval_id=one.approval.id, task_id=one.approval.task_id)
            continue
        if is_done:
            done.append(one.approval.id)
    with statement(worker.engine) as conn:
        approvals.settle(conn, done)
