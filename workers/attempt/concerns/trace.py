"""Writes each attempt as a span of its task's trace, if traces are on."""

from typing import Any

from orchestrator.models.step_result import StepResult
from orchestrator.models.verdict import Verdict
from orchestrator.observability import tracing
from workers.attempt.context import AttemptContext, Handler


def trace_attempt(attempt: AttemptContext, proceed: Handler) -> Any:
    """Write the attempt's span, with the error that it ends with; calls to models and tools become its children."""
    writer = tracing.writer()
    if writer is None:
        return proceed(attempt)
    with writer.attempt(attempt.claim) as span:
        outcome = proceed(attempt)
        # an outcome is a StepResult, or has a plan or a verdict; others reuse a result
        if isinstance(outcome, StepResult):
            if outcome.error is not None:
                span.fail(outcome.error["code"])
        elif isinstance(verdict := getattr(outcome, "verdict", None), Verdict):
            span.judged(verdict)
        elif (plan := getattr(outcome, "plan", None)) is not None:
            span.planned(mode=plan.mode, steps=len(plan.steps))
        return outcome
