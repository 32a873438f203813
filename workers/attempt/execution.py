"""Does one step: binds its inputs to the outputs that they refer to, and runs its arm."""

import itertools
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

from orchestrator.chord.database import in_transaction, statement
from orchestrator.lifecycle import output_offload
from orchestrator.lifecycle.upload import Upload
from orchestrator.memory import files
from orchestrator.models.errors import OutputTooLarge, StepError, StorageFull
from orchestrator.models.step_result import StepResult
from orchestrator.planner.references import NO_ITEM, resolve
from workers.arms.base import Assignment, load_arm
from workers.attempt.context import AttemptContext, Handler
from workers.attempt.library import TenantLibrary
from workers.attempt.model import embedder_of, model_of
from workers.attempt.progress import StepProgress
from workers.attempt.remote_access import ProcessAccess

MAX_SAVED_FILES: Final = 100
"""The most files that one attempt saves."""


def bind_inputs(attempt: AttemptContext, proceed: Handler) -> Any:
    """Set the attempt's assignment. Raises InvalidStepInput for a reference that leads nowhere, OutputTooLarge."""
    return proceed(replace(attempt, bound=_assignment(attempt)))


def run_arm(attempt: AttemptContext) -> StepResult:
    """Return the arm's result; its tools run in the attempt's sandbox.

    Raises StepError, Stopped when the attempt lost its lease, and SQLAlchemyError when the database is away.
    """
    arm = load_arm(attempt.claim.arm, sandbox=attempt.sandbox)
    result = arm.run(attempt.assignment)
    attempt.raise_if_stopped()
    return result


def _assignment(attempt: AttemptContext) -> Assignment:
    claim, contract = attempt.claim, attempt.contract
    return Assignment(
        task_id=claim.task_id,
        step_id=claim.id,
        name=claim.name,
        arm=claim.arm,
        round=claim.round,
        attempt=claim.attempt,
        action=claim.spec["action"],
        inputs=resolve(claim.spec["inputs"], bound_outputs(attempt), item=claim.spec.get("item", NO_ITEM)),
        goal=contract.goal,
        constraints=contract.constraints,
        context=contract.context,
        attachments=attempt.attachments,
        feedback=claim.spec.get("feedback"),
        deadline=attempt.deadline,
        cancelled=attempt.stop,
        open_artifact=_opener(attempt),
        library=TenantLibrary(attempt.process.engine, claim.tenant, lambda: embedder_of(attempt)),
        model=model_of(attempt),
        tools=attempt.tools,
        remote=ProcessAccess(attempt.process),
        report_progress=StepProgress(attempt).report,
        save_file=_saver(attempt),
    )


def bound_outputs(attempt: AttemptContext) -> dict[str, Any]:
    """Return the outputs of the steps that this one depends on; large ones are read from their files."""
    results = {name: StepResult.from_record(result) for name, result in (attempt.claim.bound or {}).items()}
    if all(result.artifact is None for result in results.values()):
        return {name: result.output for name, result in results.items()}
    with statement(attempt.process.engine) as conn:
        return output_offload.load_outputs(conn, attempt.claim.tenant, results)


def _saver(attempt: AttemptContext) -> Callable[[str, bytes, str], str]:
    settings, tenant, count = attempt.process.settings, attempt.claim.tenant, itertools.count(1)

    def save_file(name: str, content: bytes, media_type: str) -> str:
        if next(count) > MAX_SAVED_FILES:
            raise OutputTooLarge(f"A step may save {MAX_SAVED_FILES} files; save several as one archive.")
        if len(content) > settings.max_file_bytes:
            raise OutputTooLarge(
                f"The file {name[:100]!r} has {len(content)} bytes; a file may hold {settings.max_file_bytes}."
            )
        upload = Upload(name, media_type, content)
        try:
            return in_transaction(
                attempt.process.engine,
                lambda conn: upload.store(conn, tenant, max_bytes=settings.tenant_max_stored_bytes),
            ).sha256
        except StorageFull as error:
            raise OutputTooLarge(error.message, details=error.details) from error

    return save_file


def _opener(attempt: AttemptContext) -> Callable[[str], bytes]:
    def open_artifact(sha256: str) -> bytes:
        with statement(attempt.process.engine) as conn:
            content = files.read(conn, attempt.claim.tenant, sha256)
        if content is None:
            raise StepError(f"The attached file {sha256} was deleted; send it again and submit a new task.")
        return content

    return open_artifact
