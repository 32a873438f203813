"""Records in a step's result which arm made it, how isolated its tools were and how long it took."""

from dataclasses import replace

from orchestrator.models.arm_capability import ARMS
from orchestrator.models.step_result import StepResult
from workers.attempt.context import AttemptContext, Handler


def add_provenance(attempt: AttemptContext, proceed: Handler) -> StepResult:
    """Add arm, action, version, isolation and milliseconds; what the arm recorded itself takes precedence."""
    result: StepResult = proceed(attempt)
    action = attempt.action
    provenance = {
        "arm": attempt.claim.arm,
        "action": action.name,
        "version": ARMS[attempt.claim.arm].version,
        "isolation": str(attempt.sandbox.isolation) if action.tools else "not_needed",
        **result.provenance,
        "milliseconds": round(attempt.elapsed_seconds() * 1000),
    }
    return replace(result, provenance=provenance)
