"""The files of a task's result: the patches that its steps wrote, the files that they saved, and large outputs."""

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from orchestrator.memory import files
from orchestrator.memory.files import Artifact

MAX_FILES = 100
_MAX_NODES = 20_000
_ID = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Deliverables:
    """What the outputs of a round hold: patches as text by step, and (step, artifact id) of stored files."""

    patches: Mapping[str, str]
    stored: tuple[tuple[str, str], ...]

    def __bool__(self) -> bool:
        return bool(self.patches or self.stored)


def find(outputs: Mapping[str, Any], recorded: Mapping[str, Any], *, given: Collection[str]) -> Deliverables:
    """Return the deliverables in the outputs of steps; `given` are the task's own attachments, which are none.

    `recorded` are the outputs as the rows hold them. A file is an object with the member `artifact_id` at any depth.
    """
    patches = {
        step: output["patch"]
        for step, output in outputs.items()
        if isinstance(output, Mapping) and isinstance(output.get("patch"), str) and output["patch"].strip()
    }
    stored = [
        (step, artifact)
        for step, output in recorded.items()
        for artifact in _artifacts_in(output)
        if artifact not in given
    ]
    return Deliverables(patches, tuple(dict.fromkeys(stored))[:MAX_FILES])


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
    known = {file.sha256: file for file in files.describe(conn, tenant, [item for _, item in found.stored])}
    return listed + [_entry(step, known[artifact]) for step, artifact in found.stored if artifact in known]


def _entry(step: str, file: Artifact) -> dict[str, Any]:
    return {
        "step": step,
        "name": file.filename,
        "artifact_id": file.sha256,
        "media_type": file.media_type,
        "size_bytes": file.size_bytes,
    }


def _artifacts_in(output: Any) -> Iterator[str]:
    """Yield the artifact ids of the first nodes of an output, in its order."""
    waiting, seen = [output], 0
    while waiting and seen < _MAX_NODES:
        node, seen = waiting.pop(), seen + 1
        if isinstance(node, Mapping):
            artifact = node.get("artifact_id")
            if isinstance(artifact, str) and _ID.fullmatch(artifact):
                yield artifact
            waiting.extend(reversed(list(node.values())))
        elif isinstance(node, list):
            waiting.extend(reversed(node))
