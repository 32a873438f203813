"""Changes code by patches, given or written by a model: accepted only when they apply and the tests pass."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from orchestrator.llm.prompt import Part, Role, Untrusted, compose, load_prompt, trusted
from orchestrator.models.arm_capability import FORGEABLE
from orchestrator.models.errors import (
    BudgetExceeded,
    InvalidInput,
    InvalidStepInput,
    PatchRejected,
    ToolFailed,
)
from orchestrator.models.model_work import Work
from orchestrator.models.step_result import StepResult
from orchestrator.models.wording import count_of
from workers.arms import tools
from workers.arms.base import Assignment, ToolUse, answer
from workers.arms.code_context import code_context
from workers.arms.excerpts import shortened, size_of
from workers.arms.left_files import PACKAGE, packed, save_beside
from workers.arms.reports import (
    TestReport,
    missing_modules,
    missing_sentence,
    not_checked,
    own_modules,
    read_test_report,
)
from workers.arms.sources import selected_attachments, workspace
from workers.arms.tools import run_tool
from workers.arms.unified_diff import ChangedFile, patch_files
from workers.sandbox.limited import limited
from workers.sandbox.selection import SandboxStatus

MAX_FIX_ROUNDS = 2
FIX_SHARE = 2
"""A correction gets the room for code divided by this: first the files of the patch and of the failed tests."""
MAX_LISTED = 50
_TESTS_NEED = "the tests need"
_MAX_HINT_BYTES = 4_000
_MAX_PATCH_CHARACTERS = 20_000
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
    "generate": trusted("Write new code, and tests for it."),
    "fix": trusted("Mend a defect."),
    "refactor": trusted("Change the structure of code; what it does stays the same."),
}


@dataclass(frozen=True)
class Trial:
    """The outcome of one patch; `reason` is why it was not accepted, empty when it was.

    `package` is an archive of the code with the change.
    """

    reason: str
    files: tuple[ChangedFile, ...] = ()
    tests: TestReport | None = None
    package: bytes = b""


@dataclass(frozen=True)
class PatchProposal:
    """A patch, its author's explanation, its trial, and the number of corrections before it."""

    patch: str
    explanation: str
    trial: Trial
    fix_rounds: int = 0


@dataclass(frozen=True)
class Patcher:
    """Tries patches on a task's attachments: applies them and runs the tests in a sandbox."""

    sandbox: SandboxStatus

    def apply(self, assignment: Assignment) -> StepResult:
        """Try the given patch; one that does not apply or breaks a test does not fail the step."""
        patch = assignment.inputs["patch"]
        return self._answer(assignment, PatchProposal(patch, "", self._try(assignment, patch)))

    def propose(self, assignment: Assignment) -> StepResult:
        """Ask a model for a patch; send it the exact reason when one is not accepted, at most MAX_FIX_ROUNDS times."""
        model = assignment.require_model()
        self.sandbox.require()
        prompt = load_prompt("coder.patch")
        system = compose(Role.SYSTEM, prompt.fill())
        messages = [system, compose(Role.USER, *_request(assignment))]
        tried: PatchProposal | None = None
        while True:
            try:
                completion = model.ask(messages, _SCHEMA, work=Work.PATCH, purpose=prompt.purpose)
            except BudgetExceeded as exceeded:
                if tried is None:
                    raise
                raise _with_last_patch(exceeded, tried) from exceeded
            patch = completion.value["patch"]
            tried = PatchProposal(
                patch,
                completion.value["explanation"],
                self._try(assignment, patch),
                fix_rounds=tried.fix_rounds + 1 if tried else 0,
            )
            if not tried.trial.reason or tried.fix_rounds == MAX_FIX_ROUNDS:
                return self._answer(assignment, tried)
            # not the whole conversation: each call reserves budget for everything that it sends
            reason = _hint(tried.trial.reason)
            messages = [
                system,
                compose(
                    Role.USER,
                    *_request(assignment, share=FIX_SHARE, hints=[patch, reason]),
                    trusted("You answered before:"),
                    Untrusted("answer", completion.text),
                    trusted("It is not accepted:"),
                    Untrusted("reason", reason),
                    trusted("Answer with the whole, corrected patch."),
                ),
            ]

    def _try(self, assignment: Assignment, patch: str) -> Trial:
        sandbox = self.sandbox.require()
        with workspace(assignment, selected_attachments(assignment)) as root:
            try:
                apply = limited(patch_files, "the patch", checkpoint=assignment.checkpoint)
                files = tuple(ChangedFile(**file) for file in apply(patch, root))
                own, package = own_modules(root), packed(root)
            except (PatchRejected, InvalidStepInput, InvalidInput) as refused:
                return Trial(refused.message)
            try:
                finished, _ = run_tool(
                    sandbox,
                    root,
                    lambda places: tools.pytest_run(places, paths=["."], max_failures=tools.MAX_FAILURES),
                    assignment=assignment,
                )
            except ToolFailed as failure:
                return Trial(failure.message, files)
        report = read_test_report(finished.report, own=own, checkpoint=assignment.checkpoint)
        if report is None:
            output = [text.decode("utf-8", "replace") for text in (finished.stdout, finished.stderr)]
            if missing := missing_modules(output, own=own):
                return Trial(_undecided(missing), files, TestReport(0, 0, 0, 0, (), missing=missing))
            return Trial(f"pytest ended with exit code {finished.exit_code} and no report", files)
        return Trial(_objection(report, finished.exit_code), files, report, package)

    def _answer(self, assignment: Assignment, proposal: PatchProposal) -> StepResult:
        trial = proposal.trial
        sandbox, tests = self.sandbox.require(), trial.tests
        changed = count_of(len(trial.files), "file")
        package, warnings = (None, []) if trial.reason else save_beside(assignment, PACKAGE, trial.package)
        output = {
            "summary": f"not accepted: {trial.reason}"
            if trial.reason
            else f"accepted: {changed} changed, {count_of(tests.passed if tests else 0, 'test')} passed",
            "accepted": not trial.reason,
            "reason": trial.reason,
            "patch": proposal.patch,
            "package": package,
            "explanation": proposal.explanation,
            "fix_rounds": proposal.fix_rounds,
            "files": [asdict(file) for file in trial.files],
            "tests_passed": tests.passed if tests else 0,
            "tests_failed": tests.failed + tests.errors if tests else 0,
            "failures": [asdict(failure) for failure in tests.failures[:MAX_LISTED]] if tests else [],
            "missing_dependencies": list(tests.missing) if tests else [],
            "report_trusted": False,
            "report_note": FORGEABLE,
            "not_checked": not_checked(tests.missing, subject=_TESTS_NEED)
            if tests and tests.is_inconclusive
            else None,
        }
        return answer(
            assignment,
            output,
            warnings=warnings,
            evidence=[{"tool": "pytest", "passed": tests.passed, "failed": tests.failed}] if tests else [],
            tools=ToolUse.inside(sandbox, {"pytest": tools.tool_version("pytest")}),
        )


def _objection(report: TestReport, exit_code: int) -> str:
    """Return why the tests reject a patch; an empty string when they accept it."""
    if exit_code == 0 and report.passed:
        return ""
    if report.is_inconclusive:
        return _undecided(report.missing)
    if not report.total:
        return "there are no tests that could prove that it works"
    failures = [f"{failure.test}: {failure.message}" for failure in report.failures[:5]]
    return (
        f"{report.failed + report.errors} of {count_of(report.total, 'test')} failed: {'; '.join(failures)}"
    )


def _undecided(missing: Sequence[str]) -> str:
    return f"it is undecided whether it works: {missing_sentence(missing, subject=_TESTS_NEED)}"


def _with_last_patch(exceeded: BudgetExceeded, tried: PatchProposal) -> BudgetExceeded:
    """Return the error of a budget that is too small for another correction, with the last patch and its outcome."""
    tests = tried.trial.tests
    details = {
        "patch": tried.patch[:_MAX_PATCH_CHARACTERS],
        "reason": tried.trial.reason,
        "fix_rounds": tried.fix_rounds,
        "tests_passed": tests.passed if tests else 0,
        "tests_failed": tests.failed + tests.errors if tests else 0,
    }
    return BudgetExceeded(
        f"{exceeded.message} The last patch was not accepted: {tried.trial.reason}",
        details={**exceeded.details, "tried": details},
    )


def _hint(text: str) -> str:
    """Return what failed, shortened with a mark where it is long."""
    return text if size_of(text) <= _MAX_HINT_BYTES else shortened(text, room=_MAX_HINT_BYTES)


def code_room(assignment: Assignment, work: Work, texts: Iterable[str]) -> int:
    """Return how many bytes of code the model may see beside the other texts of the question, which are short.

    The step's input `room` can only lower it.
    """
    room = assignment.require_model().room(work) - sum(map(size_of, texts))
    asked: int = assignment.inputs.get("room", room)
    return max(0, min(room, asked))


def _request(assignment: Assignment, *, share: int = 1, hints: Sequence[str] = ()) -> list[Part]:
    """Return the task and the code it is about: `hints` name files to prefer, `share` divides the room for code."""
    inputs = assignment.inputs
    failures = (
        _hint(json.dumps(inputs["failures"], ensure_ascii=False, indent=1)) if "failures" in inputs else ""
    )
    texts = [inputs["instruction"], failures, assignment.feedback or ""]
    with workspace(assignment, selected_attachments(assignment)) as root:
        shown = code_context(
            root,
            paths=inputs.get("paths", ()),
            hints=hints or texts,
            room=code_room(assignment, Work.PATCH, texts) // share,
        )
    return [
        *shown.parts(),
        _KINDS[assignment.action],
        Untrusted("task", inputs["instruction"]),
        *([Untrusted("failures", failures)] if failures else []),
        *([Untrusted("feedback", assignment.feedback)] if assignment.feedback else []),
    ]
