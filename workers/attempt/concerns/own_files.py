"""Lets a step put out only files that it saved or was given, and records which files it saved."""

from dataclasses import replace

from orchestrator.models.errors import InvalidOutput
from orchestrator.models.step_result import FILES, StepResult
from workers.attempt.context import AttemptContext, Handler


def keep_own_files(attempt: AttemptContext, proceed: Handler) -> StepResult:
    """Return the result with the ids of the saved files in its provenance.

    Raises InvalidOutput for an output that names a file which the attempt neither saved nor was given: an arm could
    else read each file of the tenant whose id it knows, through a later step.
    """
    result: StepResult = proceed(attempt)
    files = attempt.files
    if files is None or result.error is not None:
        return result
    if foreign := files.foreign_in(result.output, attempt.assignment):
        raise InvalidOutput(
            f"the output of step {attempt.claim.name} names the file {foreign.artifact_id[:12]}..., which the step "
            "neither saved nor was given"
        )
    return (
        replace(result, provenance={**result.provenance, FILES: list(files.saved)}) if files.saved else result
    )
