"""Stores large outputs of steps as artifacts; the step's row then holds a pointer to the artifact."""

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection

from orchestrator.memory import files
from orchestrator.models import record
from orchestrator.models.errors import OutputTooLarge
from orchestrator.models.step_result import StepResult
from orchestrator.models.wording import count_of

INLINE_BYTES = 256 * 1024
MAX_READ_BYTES = 128 * 1024 * 1024
"""Most bytes of large outputs that a step, or the judge of a round, reads at once."""
MEDIA_TYPE = "application/json"


def large_output(result: StepResult, *, name: str, max_bytes: int) -> bytes | None:
    """Return an output above INLINE_BYTES as JSON, to be passed to `offload`; None for one that stays in the row.

    Raises OutputTooLarge above `max_bytes`.
    """
    content = record.encode(result.output).encode()
    if len(content) <= INLINE_BYTES:
        return None
    if len(content) > max_bytes:
        raise OutputTooLarge(f"step {name} made {len(content)} bytes of output; a file may hold {max_bytes}")
    return content


def offload(conn: Connection, tenant: str, result: StepResult, *, name: str, content: bytes) -> StepResult:
    """Store a large output; return the result with a pointer {artifact_id, size_bytes, media_type, summary}.

    Equal outputs share one artifact.
    """
    artifact = files.put(conn, tenant, filename=f"{name}.json", media_type=MEDIA_TYPE, content=content)
    pointer = {
        "artifact_id": artifact.sha256,
        "size_bytes": artifact.size_bytes,
        "media_type": MEDIA_TYPE,
        "summary": _summary(result.output),
    }
    return replace(result, output=pointer, artifact=artifact.sha256)


def load_outputs(conn: Connection, tenant: str, results: Mapping[str, StepResult]) -> dict[str, Any]:
    """Return the complete output of each result by name; an output whose file was deleted is left out.

    Raises OutputTooLarge, before it reads any, when the stored outputs have more than MAX_READ_BYTES together.
    """
    outputs = {name: result.output for name, result in results.items()}
    size = sum(result.output["size_bytes"] for result in results.values() if result.artifact is not None)
    if size > MAX_READ_BYTES:
        raise OutputTooLarge(
            f"the outputs of {count_of(len(results), 'step')} that are read at once have {size} bytes; at most "
            f"{MAX_READ_BYTES} are read: let the steps return less, or later ones depend on fewer"
        )
    for name, result in results.items():
        if result.artifact is not None:
            content = files.read(conn, tenant, result.artifact)
            outputs.pop(name)
            outputs |= {} if content is None else {name: json.loads(content)}
    return outputs


def _summary(output: Any) -> str:
    summary = output.get("summary") if isinstance(output, Mapping) else None
    return summary if isinstance(summary, str) else "done"
