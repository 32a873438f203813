"""Does one step: binds its inputs to the outputs that they refer to, and runs its arm."""

from dataclasses import replace
from typing import Any

from orchestrator.chord.database import statement
from orchestrator.lifecycle import output_offload
from orchestrator.models.step_result import StepResult
from orchestrator.planner.plan_files import BoundInputs, bind
from workers.arms.base import Assignment, load_arm
from workers.attempt.context import AttemptContext, Handler
from workers.attempt.library import TenantLibrary
from workers.attempt.model import embedder_of, model_of
from workers.attempt.progress import StepProgress
from workers.attempt.remote_access import ProcessAccess
from workers.attempt.step_files import StepFiles, attachments_of, opener
from workers.environments.tool_settings import ToolSettings


def bind_inputs(attempt: AttemptContext, proceed: Handler) -> Any:
    """Set the attempt's assignment. Raises InvalidStepInput for a reference that leads nowhere, OutputTooLarge."""
    outputs = bound_outputs(attempt)
    files = StepFiles(attempt, outputs)
    bound = bind(attempt.claim.spec, outputs, attempt.action.input_schema)
    return proceed(replace(attempt, bound=_assignment(attempt, bound, files), files=files))


def run_arm(attempt: AttemptContext) -> StepResult:
    """Return the arm's result; its tools run in the attempt's sandbox.

    Raises StepError, Stopped when the attempt lost its lease, and SQLAlchemyError when the database is away.
    """
    arm = load_arm(attempt.claim.arm, sandbox=attempt.sandbox)
    result = arm.run(attempt.assignment)
    attempt.raise_if_stopped()
    return result


def _assignment(attempt: AttemptContext, bound: BoundInputs, files: StepFiles) -> Assignment:
    claim, contract = attempt.claim, attempt.contract
    return Assignment(
        task_id=claim.task_id,
        step_id=claim.id,
        name=claim.name,
        arm=claim.arm,
        round=claim.round,
        attempt=claim.attempt,
        action=claim.spec["action"],
        inputs=bound.inputs,
        goal=contract.goal,
        constraints=contract.constraints,
        context=contract.context,
        output_schema=contract.output_schema,
        attachments=attachments_of(attempt, bound.files),
        feedback=claim.spec.get("feedback"),
        deadline=attempt.deadline,
        cancelled=attempt.stop,
        open_artifact=opener(attempt),
        tool_settings=ToolSettings.of(attempt.process.settings) if attempt.action.tools else None,
        library=TenantLibrary(attempt.process.engine, claim.tenant, lambda: embedder_of(attempt)),
        model=model_of(attempt),
        tools=attempt.tools,
        remote=ProcessAccess(attempt.process),
        report_progress=StepProgress(attempt).report,
        save_file=files.save,
    )


def bound_outputs(attempt: AttemptContext) -> dict[str, Any]:
    """Return the outputs of the steps that this one depends on; large ones are read from their files."""
    results = {name: StepResult.from_record(result) for name, result in (attempt.claim.bound or {}).items()}
    if all(result.artifact is None for result in results.values()):
        return {name: result.output for name, result in results.items()}
    with statement(attempt.process.engine) as conn:
        return output_offload.load_outputs(conn, attempt.claim.tenant, results)
