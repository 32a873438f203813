"""Keeps a defect of an arm from ending its worker or the task's other steps."""

import structlog

from orchestrator.chord.database import is_away
from orchestrator.models.errors import StepError
from orchestrator.models.step_result import StepResult
from workers.attempt.concerns.failure import failure
from workers.attempt.context import AttemptContext, Handler

log = structlog.get_logger(__name__)


def contain_crash(attempt: AttemptContext, proceed: Handler) -> StepResult:
    """Return a failed result for an unexpected exception; passes on StepError and a database that is away."""
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
