"""Marks a write as begun right before its arm is called, and decides afterwards what is known of its effect.

After the mark of an action that must not run twice, only one answer says that the effect did not happen: an error that
the arm itself raised, unless its class `leaves_effect_open` or `may_have_acted`. A time limit, an unexpected exception
and a result that can't be recorded leave it open, so that a person decides.
"""

import time
from typing import Any

import structlog

from orchestrator.chord.database import is_away, outlast, statement
from orchestrator.memory import effects
from orchestrator.models.errors import OutcomeUnknown, StepError, Stopped
from orchestrator.models.step_result import StepResult
from orchestrator.process import crash_point
from orchestrator.process.crash_point import Point
from workers.arms.base import load_arm
from workers.attempt.context import AttemptContext, Handler

log = structlog.get_logger(__name__)


def begin_effect(attempt: AttemptContext, proceed: Handler) -> Any:
    """Mark the effect of an action that writes, then call the arm. Raises Stopped when the lease is lost.

    Raises OutcomeUnknown for an action that runs once and may have taken effect, though it brought no usable result.
    """
    if attempt.action.effects != "write":
        return proceed(attempt)
    # a defect in the arm's module shows before anything can have happened
    load_arm(attempt.claim.arm, sandbox=attempt.sandbox)
    is_once = bool(attempt.claim.spec.get("once")) or attempt.action.runs_once
    crash_point.here(Point.CLAIMED_NOT_BEGUN)
    _begin(attempt, is_once=is_once)
    crash_point.here(Point.BEGUN_NOT_CALLED)
    if not is_once:
        return proceed(attempt)
    attempt.effect.has_begun = True
    result = _call(attempt, proceed)
    crash_point.here(Point.RETURNED_NOT_STORED)
    return result


def _begin(attempt: AttemptContext, *, is_once: bool) -> None:
    """Mark the effect, waiting for a database that is away: the statement is safe to repeat."""
    claim = attempt.claim

    def begin() -> bool:
        with statement(attempt.process.engine) as conn:
            return effects.begin(conn, claim.id, attempt=claim.attempt, once=is_once)

    if not outlast(begin, until=time.monotonic() + attempt.process.settings.lease_seconds):
        raise Stopped("The lease was lost before the action began.")


def _call(attempt: AttemptContext, proceed: Handler) -> StepResult:
    name = f"{attempt.claim.arm}.{attempt.action.name}"
    try:
        result: StepResult = proceed(attempt)
    except OutcomeUnknown:
        raise
    except StepError as error:
        if error.leaves_effect_open:
            raise OutcomeUnknown(f"{name} ended with {error.code}: {error.message}") from error
        if error.may_have_acted:
            # results_of in orchestrator/memory/steps.sql reads it: a repair or a retry then asks first
            error.details["may_have_acted"] = True
        raise
    except Stopped as stopped:
        if attempt.stop.is_revoked():
            raise
        raise OutcomeUnknown(f"{name} did not end within its time limit.") from stopped
    except Exception as error:
        # without a database nothing can be asked: the lease is handed back, and the mark leads to the question
        if is_away(error):
            raise
        log.exception("step.crashed")
        raise OutcomeUnknown(
            f"{name} raised an unexpected exception; the worker's log has its traceback."
        ) from error
    return result
