"""Claims a row of work for this process, in turn among the tenants."""

import time
from dataclasses import replace
from typing import Final

import structlog
from celery.exceptions import Ignore

from orchestrator.bootstrap import WorkerProcess
from orchestrator.chord.database import statement
from orchestrator.memory import steps
from orchestrator.memory.steps import Claim
from orchestrator.models.task_contract import Priority
from orchestrator.queue import canvas

_POLL_SECONDS: Final = 0.25
_WAIT_SECONDS: Final = 2.0
_PUT_OFF_SECONDS: Final = 1.0
_PUT_OFF_ALONE_SECONDS: Final = 0.2

log = structlog.get_logger(__name__)


def claim_row(process: WorkerProcess, step_id: str, *, poison_step: int | None = None) -> Claim:
    """Claim a row for this process, however many steps its tenant already runs.

    Raises Ignore when the row is done, running or not yet due, or when its task has ended.
    """
    claim = _claim(process, step_id, poison_step=poison_step or process.settings.poison_step)
    if claim is None:
        log.info("claim.refused", step_id=step_id)
        raise Ignore()
    return claim


def claim_in_turn(process: WorkerProcess, step_id: str) -> Claim:
    """Claim a row as `claim_row` does, unless its tenant already runs its share of the arm's steps.

    In that case the row of another waiting tenant is published at the highest priority, this row is put off, and Ignore
    is raised. While no other tenant waits, the slot stays free for one: the claim is tried again every _POLL_SECONDS
    until _WAIT_SECONDS have passed.
    """
    settings = process.settings
    limits = {"poison_step": settings.poison_step, "max_running": settings.tenant_max_running_steps}
    until = time.monotonic() + _WAIT_SECONDS
    while True:
        claim = _claim(process, step_id, **limits)
        if claim is not None:
            return claim
        with statement(process.engine) as conn:
            turn = steps.next_in_turn(conn, step_id, **limits)
        if turn is None:
            log.info("claim.refused", step_id=step_id)
            raise Ignore()
        if turn.message is not None or time.monotonic() >= until:
            break
        time.sleep(_POLL_SECONDS)
    with statement(process.engine) as conn:
        delay = _PUT_OFF_SECONDS if turn.message else _PUT_OFF_ALONE_SECONDS
        steps.delay_queued(conn, step_id, delay_seconds=delay)
    if turn.message is not None:
        canvas.publish(process.app, [replace(turn.message, priority=Priority.CRITICAL.broker_priority)])
    log.info("claim.put_off", step_id=step_id, next_step_id=turn.message.id if turn.message else None)
    raise Ignore()


def _claim(process: WorkerProcess, step_id: str, **limits: int) -> Claim | None:
    with statement(process.engine) as conn:
        claim = steps.claim(
            conn, step_id, owner=process.owner, lease_seconds=process.settings.lease_seconds, **limits
        )
    if claim is not None:
        process.hints.send(claim.task_id)
    return claim
