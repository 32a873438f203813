"""The files of one attempt at a step: those that it was given, and those that it saves."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from orchestrator.chord.database import in_transaction, statement
from orchestrator.lifecycle.upload import Upload
from orchestrator.memory import files
from orchestrator.models.errors import InvalidStepInput, OutputTooLarge, StepError, StorageFull
from orchestrator.models.produced_file import ProducedFile, files_in, foreign_file
from orchestrator.models.task_contract import Attachment
from orchestrator.process import crash_point
from orchestrator.process.crash_point import Point
from workers.arms.base import Assignment
from workers.attempt.context import AttemptContext

MAX_SAVED_FILES: Final = 100
"""The most files that one attempt saves."""


@dataclass
class StepFiles:
    """Which files an attempt may put out: its task's, those that its inputs name, and those that it saved.

    `outputs` are those of the earlier steps that the inputs may refer to, by name; `saved` are the ids of the files
    that are stored, in their order.
    """

    attempt: AttemptContext
    outputs: Mapping[str, Any]
    saved: list[str] = field(default_factory=list)
    count: int = 0

    def foreign_in(self, output: Any, assignment: Assignment) -> ProducedFile | None:
        """Return a file in an output that the attempt neither saved nor was given; None if there is none."""
        own = {*self.saved, *(item.sha256 for item in assignment.attachments)}
        if foreign_file(output, own) is None:
            return None
        left = {file.artifact_id for one in self.outputs.values() for file in files_in(one)}
        return foreign_file(
            output, own | left & {file.artifact_id for file in files_in(dict(assignment.inputs))}
        )

    def save(self, name: str, content: bytes, media_type: str) -> str:
        """Store a file for the task's tenant and return its sha256; saving the same content again is safe.

        Raises OutputTooLarge for too many files, for one above MAX_FILE_BYTES, and when the tenant's storage is full.
        """
        settings, tenant = self.attempt.process.settings, self.attempt.claim.tenant
        self.count += 1
        if self.count > MAX_SAVED_FILES:
            raise OutputTooLarge(f"A step may save {MAX_SAVED_FILES} files; save several as one archive.")
        if len(content) > settings.max_file_bytes:
            raise OutputTooLarge(
                f"The file {name[:100]!r} has {len(content)} bytes; a file may hold {settings.max_file_bytes}."
            )
        upload = Upload(name, media_type, content)
        try:
            sha256 = in_transaction(
                self.attempt.process.engine,
                lambda conn: upload.store(conn, tenant, max_bytes=settings.tenant_max_stored_bytes),
            ).sha256
        except StorageFull as error:
            raise OutputTooLarge(error.message, details=error.details) from error
        self.saved.append(sha256)
        crash_point.here(Point.FILE_SAVED)
        return sha256


def attachments_of(attempt: AttemptContext, left: tuple[ProducedFile, ...]) -> tuple[Attachment, ...]:
    """Return the task's attachments, and the files of earlier steps that the inputs name.

    Their names are those that the steps gave, their types and sizes those that are stored. Raises InvalidStepInput for
    a file that was deleted.
    """
    given = attempt.attachments
    new = [file for file in left if file.artifact_id not in {item.sha256 for item in given}]
    if not new:
        return given
    with statement(attempt.process.engine) as conn:
        found = files.describe(conn, attempt.claim.tenant, [file.artifact_id for file in new])
    stored = {item.sha256: item for item in found}
    for file in new:
        if file.artifact_id not in stored:
            raise InvalidStepInput(
                f"the file {file.name[:100]!r} of an earlier step was deleted; run that step again"
            )
    return given + tuple(
        Attachment(
            file.artifact_id,
            file.name or stored[file.artifact_id].filename,
            stored[file.artifact_id].media_type,
            stored[file.artifact_id].size_bytes,
        )
        for file in new
    )


def opener(attempt: AttemptContext) -> Callable[[str], bytes]:
    """Return what reads a file of the tenant by its sha256."""

    def open_artifact(sha256: str) -> bytes:
        with statement(attempt.process.engine) as conn:
            content = files.read(conn, attempt.claim.tenant, sha256)
        if content is None:
            raise StepError(f"The attached file {sha256} was deleted; send it again and submit a new task.")
        return content

    return open_artifact
