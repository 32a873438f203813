"""Skips a step whose `when` is not met, or that reads the output of a skipped step."""

from typing import Any

from orchestrator.chord.database import statement
from orchestrator.lifecycle import output_offload
from orchestrator.models.step_result import ResultStatus, StepResult
from orchestrator.planner.references import sources_needed
from orchestrator.rules.check_rule import CheckContext, check, steps_named
from workers.attempt.context import AttemptContext, Handler


def skip_where_needed(attempt: AttemptContext, proceed: Handler) -> Any:
    """Return a skipped result where the plan says so, else what the step makes.

    Of the steps that this one depends on, those without an output here were skipped: a step is released when all of
    them are done or skipped.
    """
    reason = _reason(attempt)
    if reason is None:
        return proceed(attempt)
    return StepResult(ResultStatus.SKIPPED, output={"summary": reason})


def _reason(attempt: AttemptContext) -> str | None:
    claim, spec = attempt.claim, attempt.claim.spec
    done = claim.bound or {}
    if len(done) < len(claim.bindings):
        needed = sources_needed([spec["inputs"], spec.get("for_each")])
        if missing := [name for name in needed if name in claim.bindings and name not in done]:
            return f"skipped: it reads the output of step {missing[0]}, which was skipped"
    if spec.get("when") is None:
        return None
    outcome = check(spec["when"], CheckContext(_outputs(attempt, steps_named(spec["when"]))))
    return None if outcome.met else f"skipped: {outcome.explanation}"


def _outputs(attempt: AttemptContext, names: tuple[str, ...]) -> dict[str, Any]:
    done = attempt.claim.bound or {}
    results = {name: StepResult.from_record(done[name]) for name in names if name in done}
    if all(result.artifact is None for result in results.values()):
        return {name: result.output for name, result in results.items()}
    with statement(attempt.process.engine) as conn:
        return output_offload.load_outputs(conn, attempt.claim.tenant, results)
