"""The coder: measures Python code without running it, tests patches in a sandbox, explains code by a model."""

import platform
from collections.abc import Mapping, Sequence
from typing import Any

from orchestrator.llm.prompt import Role, Untrusted, compose, load_prompt
from orchestrator.models.errors import VerificationFailed
from orchestrator.models.model_work import Work
from orchestrator.models.step_result import StepResult
from orchestrator.models.wording import count_of
from workers.arms.base import ActionArm, Arm, Assignment, ToolUse, answer
from workers.arms.code_changes import MAX_LISTED, Patcher, code_room
from workers.arms.code_context import code_context
from workers.arms.judge_rules import check_citations
from workers.arms.python_metrics import read_package
from workers.arms.sources import single_attachment, workspace
from workers.sandbox.limited import MEBIBYTE, CallLimits, limited
from workers.sandbox.selection import SandboxStatus

_EXPLANATION_SCHEMA: Mapping[str, Any] = {
    "type": "object",
    "properties": {
        "explanation": {"type": "string", "minLength": 1, "maxLength": 10_000},
        "places": {
            "type": "array",
            "maxItems": 50,
            "items": {
                "type": "object",
                "properties": {
                    "file": {"type": "string"},
                    "line": {"type": "integer", "minimum": 1},
                    "quote": {"type": "string"},
                },
                "required": ["file", "line", "quote"],
                "additionalProperties": False,
            },
        },
    },
    "required": ["explanation", "places"],
    "additionalProperties": False,
}
# Python's own parser needs up to a few hundred bytes for each byte of source
_LIMITS = CallLimits(memory_bytes=512 * MEBIBYTE, cpu_seconds=60, wall_seconds=120)


def make(sandbox: SandboxStatus) -> Arm:
    """Return the coder; its patches are tested in the given sandbox."""
    patcher = Patcher(sandbox)
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
    """Parse every Python file; report the place of each syntax error."""
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
    return answer(assignment, output, evidence=evidence, tools=ToolUse({"python": platform.python_version()}))


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
                "files", "lines", "functions", "classes", "documented", "documentable", "most_complex"
            )
        },
        "unparsed": [error["file"] for error in read["errors"]],
    }  # fmt: skip
    return answer(assignment, output, tools=ToolUse({"python": platform.python_version()}))


def explain(assignment: Assignment) -> StepResult:
    """Explain an attachment's code. Places whose quote is not in the code are left out, and counted.

    Raises VerificationFailed, which has the explanation, when no place proves it.
    """
    model = assignment.require_model()
    inputs = assignment.inputs
    with workspace(assignment, [single_attachment(assignment)]) as root:
        shown = code_context(
            root,
            paths=inputs.get("paths", ()),
            hints=[inputs["question"]],
            room=code_room(assignment, Work.EXPLAIN, [inputs["question"], assignment.feedback or ""]),
        )
    prompt = load_prompt("coder.explain")
    completion = model.ask(
        [
            compose(Role.SYSTEM, prompt.fill()),
            compose(
                Role.USER,
                *shown.parts(),
                Untrusted("question", inputs["question"]),
                *([Untrusted("feedback", assignment.feedback)] if assignment.feedback else []),
            ),
        ],
        _EXPLANATION_SCHEMA,
        work=Work.EXPLAIN,
        purpose=prompt.purpose,
    )
    given = completion.value["places"]
    checked = check_citations(given, shown.lines())
    places = [place for place, finding in zip(given, checked, strict=True) if finding["met"]]
    left_out = len(given) - len(places)
    if not places:
        raise _unproved(completion.value["explanation"], left_out=left_out, not_shown=shown.left_out)
    output = {
        "summary": completion.value["explanation"],
        "explanation": completion.value["explanation"],
        "places": places,
        "left_out": left_out,
        "not_shown": list(shown.left_out),
    }
    warnings = [f"{count_of(left_out, 'place')} left out: the quote is not there"] if left_out else []
    evidence = [{"file": place["file"], "line": place["line"]} for place in places]
    return answer(assignment, output, evidence=evidence, warnings=warnings)


def _unproved(explanation: str, *, left_out: int, not_shown: Sequence[str]) -> VerificationFailed:
    """Return the error for an explanation without a proved place."""
    given = (
        f"the quotes of {count_of(left_out, 'place')} are not in the code"
        if left_out
        else "it cites no place"
    )
    return VerificationFailed(
        f"The model's explanation is not proved: {given}.",
        details={"explanation": explanation, "left_out": left_out, "not_shown": list(not_shown)[:MAX_LISTED]},
    )


def _read(assignment: Assignment) -> dict[str, Any]:
    """Return what python_metrics reads from the step's attachment."""
    attachment = single_attachment(assignment)
    with workspace(assignment, [attachment]) as root:
        read = limited(read_package, attachment.filename, checkpoint=assignment.checkpoint, limits=_LIMITS)
        return read(root)
