"""Changes code by patches, given or a model's: accepted only when they apply and the tests pass in the sandbox."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from orchestrator.errors import PatchRejected, ToolFailed
from orchestrator.execution_state import StepResult
from orchestrator.llm.interface import Message, Role
from orchestrator.prompt import as_data, load_prompt
from workers import tools
from workers.arms.base import Assignment, answer, count_of
from workers.arms.junit import TestReport, read_report
from workers.arms.patch import Applied, apply_patch, parse_patch
from workers.arms.shown_source import DEFAULT_BYTES, shown_source
from workers.arms.sources import chosen, workspace
from workers.arms.tool_use import use_tool
from workers.sandbox.choice import Standing

MAX_FIX_ROUNDS = 2
MAX_OUTPUT_TOKENS = 2_000
MAX_LISTED = 50
_MAX_HINT_CHARACTERS = 2_000
_SCHEMA: Mapping[str, Any] = {
    "type": "object",
    "properties": {
        "patch": {"type": "string", "minLength": 1, "maxLength": 200_000},
        "explanation": {"type": "string", "maxLength": 2_000},
    },
    "required": ["patch", "explanation"],
    "additionalProperties": False,
}
_KINDS = {
    "generate": "Write new code, and tests for it.",
    "fix": "Mend a defect.",
    "refactor": "Change the structure of code; what it does stays the same.",
}


@dataclass(frozen=True)
class Trial:
    """What became of one patch; `reason` says why it is not accepted, and is empty when it is."""

    reason: str
    files: tuple[Applied, ...] = ()
    tests: TestReport | None = None


@dataclass(frozen=True)
class Patcher:
    """Tries patches on what a task attached, in the sandbox that stands here."""

    standing: Standing

    def apply(self, assignment: Assignment) -> StepResult:
        """Try the given patch; one that does not fit or breaks a test is an output, not a failed step."""
        patch = assignment.inputs["patch"]
        return self._answer(assignment, patch, self._try(assignment, patch))

    def propose(self, assignment: Assignment) -> StepResult:
        """Have a model make the patch; what is wrong goes back in exact words, at most MAX_FIX_ROUNDS times."""
        model = assignment.require_model()
        self.standing.use()
        prompt = load_prompt("coder.patch")
        messages = [Message(Role.SYSTEM, prompt.text), Message(Role.USER, _request(assignment))]
        fix_rounds = 0
        while True:
            completion = model.ask(
                messages, _SCHEMA, max_output_tokens=MAX_OUTPUT_TOKENS, purpose=prompt.purpose
            )
            patch, explanation = completion.value["patch"], completion.value["explanation"]
            trial = self._try(assignment, patch)
            if not trial.reason or fix_rounds == MAX_FIX_ROUNDS:
                return self._answer(assignment, patch, trial, explanation=explanation, fix_rounds=fix_rounds)
            fix_rounds += 1
            told = f"It is not accepted: {trial.reason}\nAnswer with the whole, corrected patch."
            messages += [Message(Role.ASSISTANT, completion.text), Message(Role.USER, told)]

    def _try(self, assignment: Assignment, patch: str) -> Trial:
        sandbox = self.standing.use()
        with workspace(assignment, chosen(assignment)) as root:
            try:
                files = tuple(apply_patch(parse_patch(patch), root))
            except PatchRejected as refused:
                return Trial(refused.message)
            try:
                finished, _ = use_tool(
                    sandbox,
                    root,
                    lambda places: tools.pytest_run(places, paths=["."], max_failures=tools.MAX_FAILURES),
                    assignment=assignment,
                )
            except ToolFailed as failure:
                return Trial(failure.message, files)
        report = read_report(finished.report)
        if report is None:
            return Trial(f"pytest ended with exit code {finished.exit_code} and no report", files)
        return Trial(_objection(report, finished.exit_code), files, report)

    def _answer(
        self,
        assignment: Assignment,
        patch: str,
        trial: Trial,
        *,
        explanation: str = "",
        fix_rounds: int = 0,
    ) -> StepResult:
        sandbox, tests = self.standing.use(), trial.tests
        changed = count_of(len(trial.files), "file")
        output = {
            "summary": f"not accepted: {trial.reason}"
            if trial.reason
            else f"accepted: {changed} changed, {count_of(tests.passed if tests else 0, 'test')} passed",
            "accepted": not trial.reason,
            "reason": trial.reason,
            "patch": patch,
            "explanation": explanation,
            "fix_rounds": fix_rounds,
            "files": [asdict(file) for file in trial.files],
            "tests_passed": tests.passed if tests else 0,
            "tests_failed": tests.failed + tests.errors if tests else 0,
            "failures": [asdict(failure) for failure in tests.failures[:MAX_LISTED]] if tests else [],
        }
        return answer(
            assignment,
            output,
            evidence=[{"tool": "pytest", "passed": tests.passed, "failed": tests.failed}] if tests else [],
            tools={"pytest": tools.tool_version("pytest")},
            isolation=sandbox.backend.isolation,
            limits=sandbox.facts(),
        )


def _objection(report: TestReport, exit_code: int) -> str:
    """Return why the tests speak against a patch; an empty string when they don't."""
    if exit_code == 0 and report.passed:
        return ""
    if not report.total:
        return "there are no tests that could show that it works"
    failures = [f"{failure.test}: {failure.message}" for failure in report.failures[:5]]
    return f"{report.failed + report.errors} of {count_of(report.total, 'test')} fail: {'; '.join(failures)}"


def _request(assignment: Assignment) -> str:
    inputs = assignment.inputs
    failures = (
        json.dumps(inputs["failures"], ensure_ascii=False)[:_MAX_HINT_CHARACTERS]
        if "failures" in inputs
        else ""
    )
    hints = [inputs["instruction"], failures, assignment.feedback or ""]
    with workspace(assignment, chosen(assignment)) as root:
        shown = shown_source(
            root, paths=inputs.get("paths", ()), hints=hints, room=inputs.get("room", DEFAULT_BYTES)
        )
    parts = [
        shown.as_message(),
        _KINDS[assignment.action],
        as_data("task", inputs["instruction"]),
        *([as_data("failures", failures)] if failures else []),
        *([as_data("feedback", assignment.feedback)] if assignment.feedback else []),
    ]
    return "\n".join(part for part in parts if part)
