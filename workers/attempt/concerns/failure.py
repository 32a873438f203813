"""Turns an error, or the end of an attempt's time, into a failed result."""

from collections.abc import Mapping
from typing import Any

from orchestrator.models.errors import MustWait, OctoError, Stopped, ToolTimeout
from orchestrator.models.execution_state import StepKind
from orchestrator.models.model_errors import ModelTimeout
from orchestrator.models.step_result import ResultStatus, StepResult
from workers.attempt.context import AttemptContext, Handler, limit_seconds


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
        claim, limit = attempt.claim, limit_seconds(attempt.claim)
        if claim.kind == StepKind.STEP:
            return failed_by(ToolTimeout(f"Step {claim.name} did not end within {limit:g} s."))
        if limit >= claim.seconds_left:
            raise
        return failed_by(ModelTimeout(f"The {claim.arm} did not end within {limit:g} s."))


def failed_by(error: OctoError) -> StepResult:
    """Return the failed result that records an error."""
    return failure(error.code, error.message, retryable=error.retryable, details=error.details)


def failure(
    code: str, message: str, *, retryable: bool = False, details: Mapping[str, Any] | None = None
) -> StepResult:
    """Return a failed result."""
    error = {"code": code, "message": message, "retryable": retryable, "details": dict(details or {})}
    return StepResult(ResultStatus.FAILED, error=error)
