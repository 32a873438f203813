"""Converts data between CSV, JSON, a Markdown table and YAML, in a limited child: the bytes are untrusted."""

from collections.abc import Mapping
from pathlib import PurePosixPath

from orchestrator.models.errors import InvalidStepInput
from orchestrator.models.step_result import StepResult
from orchestrator.models.wording import count_of
from workers.arms.base import Assignment, answer
from workers.arms.data_formats import converted
from workers.arms.left_files import save_file
from workers.arms.sources import plain_name, single_attachment
from workers.sandbox.limited import MEBIBYTE, CallLimits, limited

MAX_SHOWN_CHARACTERS = 20_000
_LIMITS = CallLimits(
    memory_bytes=768 * MEBIBYTE, cpu_seconds=60, wall_seconds=100, answer_bytes=32 * MEBIBYTE
)
_ENDINGS: Mapping[str, tuple[str, ...]] = {
    "csv": (".csv", ".tsv"),
    "json": (".json",),
    "markdown": (".md", ".markdown"),
    "yaml": (".yaml", ".yml"),
}


def convert(assignment: Assignment) -> StepResult:
    """Convert one attachment; the text is in the output, whole in a file beside it.

    Raises InvalidStepInput for content that is not in its format, or that the other format can't hold.
    """
    attachment, target = single_attachment(assignment), assignment.inputs["to"]
    name = plain_name(attachment)
    source = assignment.inputs.get("from") or _format_of(name)
    text, rows, warnings = limited(converted, name, checkpoint=assignment.checkpoint, limits=_LIMITS)(
        assignment.open_artifact(attachment.sha256), source, target, name
    )
    file = save_file(assignment, PurePosixPath(name).stem + _ENDINGS[target][0], text.encode())
    output = {
        "summary": f"{name} converted from {source} to {target}: {count_of(rows, 'row')}, {file['name']}",
        "text": text[:MAX_SHOWN_CHARACTERS],
        "rows": rows,
        "files": [file],
    }
    if len(text) > MAX_SHOWN_CHARACTERS:
        warnings.append(
            f"the text is shown up to {MAX_SHOWN_CHARACTERS:,} characters; {file['name']} has all of it"
        )
    return answer(assignment, output, evidence=[{"artifact": attachment.sha256}], warnings=warnings)


def _format_of(name: str) -> str:
    for form, endings in _ENDINGS.items():
        if name.lower().endswith(endings):
            return form
    raise InvalidStepInput(
        f"{name}: its name does not say its format: give `from`, one of {', '.join(_ENDINGS)}"
    )
