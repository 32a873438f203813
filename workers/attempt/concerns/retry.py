"""Queues a row again instead of storing its outcome: when there is no room now, or when trying again may help."""

import random
from collections.abc import Mapping
from typing import Any

import structlog
from celery.exceptions import Ignore

from orchestrator.chord.database import in_transaction
from orchestrator.lifecycle import requeue
from orchestrator.models.errors import MustWait
from orchestrator.models.step_result import StepResult
from orchestrator.observability import metric
from workers.attempt.context import AttemptContext, Handler

log = structlog.get_logger(__name__)

_MAX_DELAY_SECONDS = 60.0
_MIN_DELAY_SECONDS = 0.05


def postpone(attempt: AttemptContext, proceed: Handler) -> Any:
    """Queue the row again when the work raises MustWait, without counting a failure; then raises Ignore.

    Changes nothing when the attempt is no longer the current one, or when its task has ended.
    """
    try:
        return proceed(attempt)
    except MustWait as wait:
        if requeue.postpone(attempt.process.engine, attempt.claim, wait):
            attempt.process.hints.send(attempt.claim.task_id)
            log.info("step.postponed", reason=wait.code)
        else:
            log.info("attempt.superseded", error=wait.code)
        raise Ignore() from wait


def retry(attempt: AttemptContext, proceed: Handler) -> Any:
    """Queue the row again when the result is a failure that may be tried again; then raises Ignore.

    Changes nothing when the attempt is no longer the current one, or when its task has ended.
    """
    outcome = proceed(attempt)
    if isinstance(outcome, StepResult) and outcome.error is not None and may_retry(attempt, outcome.error):
        _queue_again(attempt, outcome.error)
        raise Ignore()
    return outcome


def may_retry(attempt: AttemptContext, error: Mapping[str, Any]) -> bool:
    """Return whether the error is retryable, a retry is left, and it can begin before the task's deadline."""
    left = attempt.claim.seconds_left - attempt.elapsed_seconds()
    return (
        bool(error["retryable"])
        and attempt.claim.failures < attempt.contract.budget.max_retries
        and (_retry_after(error) or 0.0) < left
    )


def backoff_seconds(
    failures: int, *, retry_after: float | None, chance: float, longest: float = _MAX_DELAY_SECONDS
) -> float:
    """Return the pause before the next try: doubles with full jitter, and is at least `retry_after`.

    `chance` is in [0, 1). The jittered part never exceeds `longest`. Source: "Exponential Backoff And Jitter", AWS
    Architecture Blog, 2015.
    """
    jittered = chance * min(_MAX_DELAY_SECONDS, 2.0**failures, longest)
    return max(jittered, retry_after or 0.0, _MIN_DELAY_SECONDS)


def _queue_again(attempt: AttemptContext, error: Mapping[str, Any]) -> None:
    claim, seconds = attempt.claim, attempt.elapsed_seconds()
    delay = backoff_seconds(
        claim.failures,
        retry_after=_retry_after(error),
        chance=random.random(),
        longest=claim.seconds_left - seconds,
    )
    is_queued = in_transaction(
        attempt.process.engine, lambda conn: requeue.retry_step(conn, claim, error=error, delay_seconds=delay)
    )
    if not is_queued:
        log.info("attempt.superseded", error=error["code"])
        return
    attempt.process.hints.send(claim.task_id)
    metric.arm_invoked(claim.arm, "retried", seconds)
    log.info("step.retrying", error=error["code"], failures=claim.failures + 1, delay_seconds=round(delay, 2))


def _retry_after(error: Mapping[str, Any]) -> float | None:
    seconds = (error.get("details") or {}).get("retry_after")
    return float(seconds) if isinstance(seconds, int | float) else None
