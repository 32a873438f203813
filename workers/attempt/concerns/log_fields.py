"""Names the attempt on every line that is logged while it runs."""

from contextlib import AbstractContextManager
from typing import Any

from orchestrator.memory.claims import Claim
from orchestrator.observability import log, tracing
from workers.attempt.context import AttemptContext, Handler


def add_log_fields(attempt: AttemptContext, proceed: Handler) -> Any:
    """Add task, step, arm and attempt to the log lines of this attempt."""
    with log_fields(attempt.claim):
        return proceed(attempt)


def log_fields(claim: Claim) -> AbstractContextManager[None]:
    """Return a block in which the log lines name the claim."""
    return log.bound(
        task_id=claim.task_id,
        step=claim.name,
        arm=claim.arm,
        attempt=claim.attempt,
        **tracing.log_fields(claim.task_id, claim.trace_context),
    )
