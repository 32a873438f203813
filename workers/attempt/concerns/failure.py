"""Turns errors, the end of an attempt's time, and defects of an arm into failed results."""

from collections.abc import Mapping
from typing import Any

import structlog

from orchestrator.chord.database import is_away
from orchestrator.models.errors import (
    JudgingTimeout,
    MustWait,
    OctoError,
    PlanningTimeout,
    StepError,
    Stopped,
    ToolTimeout,
)
from orchestrator.models.execution_state import StepKind
from orchestrator.models.step_result import ResultStatus, StepResult
from workers.attempt.context import AttemptContext, Handler, limit_seconds

log = structlog.get_logger(__name__)


def fail_on_error(attempt: AttemptContext, proceed: Handler) -> Any:
    """Return the work's outcome, or a failed StepResult for an OctoError and for a lapsed time limit.

    Passes on MustWait. Passes on Stopped when the attempt may store nothing: its lease is lost, or it was planning or
    judging past the task's own deadline, which ends the task without a plan or a verdict.
    """
    try:
        return proceed(attempt)
    except MustWait:
        raise
    except OctoError as error:
        return failed_by(error)
    except Stopped:
        if attempt.stop.is_revoked() or not attempt.stop.is_late():
            raise
        if attempt.claim.kind != StepKind.STEP and _ends_with_task(attempt):
            raise
        return failed_by(_out_of_time(attempt))


def _ends_with_task(attempt: AttemptContext) -> bool:
    """Tell whether the attempt's time ends with the task's own deadline."""
    return limit_seconds(attempt.claim, attempt.process.settings) >= attempt.claim.seconds_left


def _out_of_time(attempt: AttemptContext) -> StepError:
    """Return the error of an attempt that took too long, with the setting that limits it."""
    claim = attempt.claim
    limit = limit_seconds(claim, attempt.process.settings)
    if claim.kind == StepKind.STEP:
        return ToolTimeout(f"Step {claim.name} did not end within {limit:g} s.")
    if claim.kind == StepKind.PLAN:
        return PlanningTimeout(
            f"Planning did not end within {limit:g} s: raise PLANNING_TIMEOUT_SECONDS, or name faster models in "
            "PLANNER_MODELS."
        )
    return JudgingTimeout(
        f"Judging did not end within {limit:g} s: raise JUDGING_TIMEOUT_SECONDS, or name faster models in JUDGE_MODELS."
    )


def contain_crash(attempt: AttemptContext, proceed: Handler) -> StepResult:
    """Return a failed result for an unexpected exception, so that a defect of an arm does not end its worker.

    Passes on StepError, and the error of a database that is away.
    """
    try:
        result: StepResult = proceed(attempt)
    except StepError:
        raise
    except Exception as error:
        # a database that is away is not the arm's failure: the lease is handed back and the step runs again
        if is_away(error):
            raise
        log.exception("step.crashed")
        return failure(
            "arm_crashed",
            f"The {attempt.claim.arm} arm raised an unexpected exception; the worker's log has its traceback.",
        )
    return result


def failed_by(error: OctoError) -> StepResult:
    """Return the failed result that records an error; one whose effect may have happened is not tried again."""
    is_retryable = error.retryable and not error.details.get("may_have_acted")
    return failure(error.code, error.message, retryable=is_retryable, details=error.details)


def failure(
    code: str, message: str, *, retryable: bool = False, details: Mapping[str, Any] | None = None
) -> StepResult:
    """Return a failed result."""
    error = {"code": code, "message": message, "retryable": retryable, "details": dict(details or {})}
    return StepResult(ResultStatus.FAILED, error=error)
