"""Asks a person when nobody can say whether a step's action took effect, instead of storing an outcome."""

from dataclasses import replace
from typing import Any

from celery.exceptions import Ignore

from orchestrator.lifecycle.effects import Loss
from orchestrator.models.errors import OutcomeUnknown
from orchestrator.models.step_result import StepResult
from orchestrator.observability import metric
from workers.attempt.context import AttemptContext, Handler
from workers.runtime.lost_effect import ask_about


def ask_outcome(attempt: AttemptContext, proceed: Handler) -> Any:
    """Let the step wait for a person when its outcome is unknown; then raises Ignore.

    An action that may run again gives a failure that may be tried again. Changes nothing when the attempt is no longer
    the current one, or when its task has ended.
    """
    outcome = proceed(attempt)
    if not isinstance(outcome, StepResult) or outcome.error is None:
        return outcome
    if outcome.error["code"] != OutcomeUnknown.code:
        return outcome
    if not attempt.effect.has_begun:
        return replace(outcome, error={**outcome.error, "retryable": True})
    claim = attempt.claim
    loss = Loss(claim.id, claim.task_id, reason="reported", attempt=claim.attempt, error=outcome.error)
    ask_about(attempt.process, loss)
    metric.arm_invoked(claim.arm, "outcome_unknown", attempt.elapsed_seconds())
    raise Ignore()
