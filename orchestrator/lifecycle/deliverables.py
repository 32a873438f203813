"""The files of a task's result: the patches that its steps wrote, the files that they saved, and large outputs."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlalchemy import Connection

from orchestrator.memory import files
from orchestrator.memory.files import Artifact
from orchestrator.models.produced_file import files_in

MAX_FILES = 100


class FileOfStep(NamedTuple):
    """A stored file that a step's output names; `name` is empty where the output has none."""

    step: str
    artifact_id: str
    name: str = ""


@dataclass(frozen=True)
class Deliverables:
    """What the outputs of a round hold: patches as text by step, and stored files."""

    patches: Mapping[str, str]
    stored: tuple[FileOfStep, ...]

    def __bool__(self) -> bool:
        return bool(self.patches or self.stored)


def find(outputs: Mapping[str, Any], recorded: Mapping[str, Any], *, given: Collection[str]) -> Deliverables:
    """Return the deliverables in the outputs of steps; `given` are the task's own attachments, which are none.

    `recorded` are the outputs as the rows hold them: of a large one a pointer to the file that has it. A file is an
    object with the member `artifact_id` at any depth. Each file counts once, as one of the first step that names it.
    """
    patches = {
        step: output["patch"]
        for step, output in outputs.items()
        if isinstance(output, Mapping) and isinstance(output.get("patch"), str) and output["patch"].strip()
    }
    stored: dict[str, FileOfStep] = {}
    for step in recorded:
        values = [recorded[step], *([outputs[step]] if outputs.get(step) is not recorded[step] else [])]
        for file in (file for value in values for file in files_in(value)):
            if file.artifact_id not in given:
                stored.setdefault(file.artifact_id, FileOfStep(step, file.artifact_id, file.name))
    return Deliverables(patches, tuple(stored.values())[:MAX_FILES])


def store(conn: Connection, tenant: str, found: Deliverables) -> list[dict[str, Any]]:
    """Store the patches; return {step, name, artifact_id, media_type, size_bytes} of each file that is there."""
    listed = [
        _entry(
            step,
            files.put(
                conn,
                tenant,
                filename=f"{step}.patch",
                media_type="text/x-diff",
                content=f"{patch.rstrip()}\n".encode(),
            ),
        )
        for step, patch in list(found.patches.items())[:MAX_FILES]
    ]
    ids = [file.artifact_id for file in found.stored]
    known = {file.sha256: file for file in files.describe(conn, tenant, ids)}
    return listed + [
        _entry(file.step, known[file.artifact_id], name=file.name)
        for file in found.stored
        if file.artifact_id in known
    ]


def _entry(step: str, file: Artifact, *, name: str = "") -> dict[str, Any]:
    return {
        "step": step,
        "name": name or file.filename,
        "artifact_id": file.sha256,
        "media_type": file.media_type,
        "size_bytes": file.size_bytes,
    }
