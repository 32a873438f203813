"""Codes: reads Python code without running it, tries patches in the sandbox, and has a model write and explain."""

import platform
from typing import Any

from orchestrator.models.step_result import StepResult
from orchestrator.models.wording import count_of
from workers.arms.base import ActionArm, Arm, Assignment, answer
from workers.arms.explaining import explain
from workers.arms.patching import Patcher
from workers.arms.python_source import read_package
from workers.arms.sources import the_one, workspace
from workers.sandbox.choice import Standing
from workers.sandbox.limited import MEBIBYTE, Limits, limited

# Python's own parser makes up to a few hundred bytes of each byte of source
_LIMITS = Limits(memory_bytes=512 * MEBIBYTE, cpu_seconds=60, wall_seconds=120)


def make(standing: Standing) -> Arm:
    """Return the coder, whose patches are tried in the sandbox that stands here."""
    patcher = Patcher(standing)
    return ActionArm(
        {
            "syntax": syntax,
            "metrics": metrics,
            "apply": patcher.apply,
            "generate": patcher.propose,
            "fix": patcher.propose,
            "refactor": patcher.propose,
            "explain": explain,
        }
    )


def syntax(assignment: Assignment) -> StepResult:
    """Parse every Python file; say where one can't be parsed."""
    read = _read(assignment)
    count, errors = read["error_count"], read["errors"]
    summary = f"{count_of(read['files'], 'Python file')} parsed, {count_of(count, 'error')}"
    if errors:
        summary += f": {errors[0]['file']}:{errors[0]['line']} {errors[0]['message']}"
    output = {
        "summary": summary,
        "files_checked": read["files"],
        "error_count": count,
        "errors": errors,
        "python": platform.python_version(),
    }
    evidence = [{"file": error["file"], "line": error["line"]} for error in errors]
    return answer(assignment, output, evidence=evidence, tools={"python": platform.python_version()})


def metrics(assignment: Assignment) -> StepResult:
    """Count lines, functions, classes, docstrings and branches."""
    read = _read(assignment)
    parsed = read["files"] - read["error_count"]
    output = {
        "summary": f"{count_of(read['functions'], 'function')} in {count_of(parsed, 'parsed file')}; "
        f"{read['documented']} of {count_of(read['documentable'], 'place')} documented",
        **{
            name: read[name]
            for name in (
                "files", "lines", "functions", "classes", "documented", "documentable", "max_complex"
            )
        },
        "unparsed": [error["file"] for error in read["errors"]],
    }  # fmt: skip
    return answer(assignment, output, tools={"python": platform.python_version()})


def _read(assignment: Assignment) -> dict[str, Any]:
    """Return what python_source reads of the step's attachment."""
    attachment = the_one(assignment)
    with workspace(assignment, [attachment]) as root:
        read = limited(read_package, attachment.filename, checkpoint=assignment.checkpoint, limits=_LIMITS)
        return read(root)
