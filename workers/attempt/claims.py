"""Claims a row of work for this process, in turn among the tenants."""

import time
from dataclasses import replace
from typing import Final

import structlog
from celery.exceptions import Ignore

from orchestrator.bootstrap import WorkerProcess
from orchestrator.chord.database import outlast, statement
from orchestrator.memory import claims
from orchestrator.memory.claims import Claim, Refusal, Turn
from orchestrator.models.execution_state import StepKind
from orchestrator.models.task_contract import Priority
from orchestrator.queue import canvas

_POLL_SECONDS: Final = 0.25
_WAIT_SECONDS: Final = 2.0
_PUT_OFF_SECONDS: Final = 1.0
_PUT_OFF_ALONE_SECONDS: Final = 0.2
_AWAY_SECONDS: Final = 60.0

log = structlog.get_logger(__name__)


def claim_row(process: WorkerProcess, step_id: str, *, poison_step: int | None = None) -> Claim:
    """Claim a row for this process, however many steps its tenant already runs.

    Raises Ignore when the row is done, running or not yet due, or when its task has ended.
    """
    claim = _claim(process, step_id, poison_step=poison_step or process.settings.poison_step)
    if isinstance(claim, Refusal):
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
        if isinstance(claim, Claim):
            return claim
        if claim is Refusal.CLOSED:
            log.info("claim.refused", step_id=step_id)
            raise Ignore()
        # None: since the refusal, the tenant's steps have ended or the row was taken; the next claim tells which
        turn = _next_in_turn(process, step_id, **limits)
        message = turn.message if turn else None
        if message is not None or time.monotonic() >= until:
            break
        if turn is not None:
            time.sleep(_POLL_SECONDS)
    with statement(process.engine) as conn:
        delay = _PUT_OFF_SECONDS if message else _PUT_OFF_ALONE_SECONDS
        claims.delay_queued(conn, step_id, delay_seconds=delay)
    if message is not None:
        canvas.publish(process.app, [replace(message, priority=Priority.CRITICAL.broker_priority)])
    log.info("claim.put_off", step_id=step_id, next_step_id=message.id if message else None)
    raise Ignore()


def _claim(process: WorkerProcess, step_id: str, **limits: int) -> Claim | Refusal:
    """Claim the row, waiting for a database that is away: the message is lost if the claim fails."""

    def attempt() -> Claim | Refusal:
        with statement(process.engine) as conn:
            return claims.claim(
                conn, step_id, owner=process.owner, lease_seconds=process.settings.lease_seconds, **limits
            )

    claim = outlast(attempt, until=time.monotonic() + _AWAY_SECONDS)
    # the start of a step is announced later
    if isinstance(claim, Claim) and claim.kind != StepKind.STEP:
        process.hints.send(claim.task_id)
    return claim


def _next_in_turn(process: WorkerProcess, step_id: str, **limits: int) -> Turn | None:
    with statement(process.engine) as conn:
        return claims.next_in_turn(conn, step_id, **limits)
