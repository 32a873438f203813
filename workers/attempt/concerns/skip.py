"""Skips a step whose `when` is not met, or that reads the output of a skipped step."""

from collections.abc import Collection
from typing import Any

from orchestrator.chord.database import statement
from orchestrator.lifecycle import output_offload
from orchestrator.lifecycle.skipping import skip_reason
from orchestrator.models.step_result import ResultStatus, StepResult
from workers.attempt.context import AttemptContext, Handler


def skip_where_needed(attempt: AttemptContext, proceed: Handler) -> Any:
    """Return a skipped result where the plan says so, else what the step makes."""
    done = attempt.claim.bound or {}

    def read(names: Collection[str]) -> dict[str, Any]:
        results = {name: StepResult.from_record(done[name]) for name in names}
        if all(result.artifact is None for result in results.values()):
            return {name: result.output for name, result in results.items()}
        with statement(attempt.process.engine) as conn:
            return output_offload.load_outputs(conn, attempt.claim.tenant, results)

    reason = skip_reason(attempt.claim.spec, done, read)
    if reason is None:
        return proceed(attempt)
    return StepResult(ResultStatus.SKIPPED, output={"summary": reason})
