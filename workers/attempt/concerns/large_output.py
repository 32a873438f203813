"""Stores a large output as a file, and refuses a result that is too large to record."""

from orchestrator.chord.database import in_transaction, outlast
from orchestrator.lifecycle import output_offload
from orchestrator.models import record
from orchestrator.models.errors import OutputTooLarge
from orchestrator.models.step_result import StepResult
from workers.attempt.context import AttemptContext, Handler


def store_large_output(attempt: AttemptContext, proceed: Handler) -> StepResult:
    """Return the result, with a pointer in place of an output above output_offload.INLINE_BYTES.

    Waits until the attempt's deadline for a database that is away. Raises OutputTooLarge.
    """
    done: StepResult = proceed(attempt)
    max_bytes = attempt.process.settings.max_recorded_result_bytes
    if _size(done) <= min(output_offload.INLINE_BYTES, max_bytes):
        return done
    result = outlast(lambda: _offload(attempt, done), until=attempt.deadline)
    size = _size(result)
    if size > max_bytes:
        raise OutputTooLarge(f"The step's result is {size} bytes; a step may record {max_bytes}.")
    return result


def _size(result: StepResult) -> int:
    return len(record.encode(result.to_record()).encode())


def _offload(attempt: AttemptContext, result: StepResult) -> StepResult:
    claim, settings = attempt.claim, attempt.process.settings
    content = output_offload.large_output(result, name=claim.name, max_bytes=settings.max_file_bytes)
    if content is None:
        return result
    return in_transaction(
        attempt.process.engine,
        lambda conn: output_offload.offload(conn, claim.tenant, result, name=claim.name, content=content),
    )
