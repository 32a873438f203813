"""Changes code by patches, given or a model's: accepted only when they apply and the tests pass in the sandbox."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from orchestrator.llm.prompt import Part, Role, Untrusted, compose, load_prompt, trusted
from orchestrator.models.arm_capability import FORGEABLE
from orchestrator.models.errors import BudgetExceeded, InvalidStepInput, PatchRejected, ToolFailed
from orchestrator.models.step_result import StepResult
from orchestrator.models.wording import count_of
from workers.arms import dependencies, tools
from workers.arms.base import Assignment, answer
from workers.arms.junit import TestReport, read_report
from workers.arms.patch import Applied, patch_files
from workers.arms.shown_source import DEFAULT_BYTES, shown_source
from workers.arms.sources import chosen, workspace
from workers.arms.tool_use import use_tool
from workers.sandbox.choice import Standing
from workers.sandbox.limited import limited

MAX_FIX_ROUNDS = 2
MAX_OUTPUT_TOKENS = 2_000
FIX_MARGIN_TOKENS = 500
"""What a corrected answer may be longer than the one before, which had at most a token a byte."""
FIX_SHARE = 2
"""A correction is shown so much less of the code: first the files of the patch and of the tests that failed."""
MAX_LISTED = 50
_TESTS_NEED = "the tests need"
_MAX_HINT_CHARACTERS = 1_000
_MAX_TOLD_CHARACTERS = 20_000
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
    """What became of one patch; `reason` says why it is not accepted, and is empty when it is."""

    reason: str
    files: tuple[Applied, ...] = ()
    tests: TestReport | None = None


@dataclass(frozen=True)
class Proposal:
    """A patch, what its author says of it, what became of it, and after how many corrections."""

    patch: str
    explanation: str
    trial: Trial
    fix_rounds: int = 0


@dataclass(frozen=True)
class Patcher:
    """Tries patches on what a task attached, in the sandbox that stands here."""

    standing: Standing

    def apply(self, assignment: Assignment) -> StepResult:
        """Try the given patch; one that does not fit or breaks a test is an output, not a failed step."""
        patch = assignment.inputs["patch"]
        return self._answer(assignment, Proposal(patch, "", self._try(assignment, patch)))

    def propose(self, assignment: Assignment) -> StepResult:
        """Have a model make the patch; what is wrong goes back in exact words, at most MAX_FIX_ROUNDS times."""
        model = assignment.require_model()
        self.standing.use()
        prompt = load_prompt("coder.patch")
        system = compose(Role.SYSTEM, prompt.fill())
        messages, max_tokens = [system, compose(Role.USER, *_request(assignment))], MAX_OUTPUT_TOKENS
        tried: Proposal | None = None
        while True:
            try:
                completion = model.ask(
                    messages, _SCHEMA, max_output_tokens=max_tokens, purpose=prompt.purpose
                )
            except BudgetExceeded as exceeded:
                if tried is None:
                    raise
                raise _telling_what_was_tried(exceeded, tried) from exceeded
            patch = completion.value["patch"]
            tried = Proposal(
                patch,
                completion.value["explanation"],
                self._try(assignment, patch),
                fix_rounds=tried.fix_rounds + 1 if tried else 0,
            )
            if not tried.trial.reason or tried.fix_rounds == MAX_FIX_ROUNDS:
                return self._answer(assignment, tried)
            # not the whole conversation: each call reserves all that it sends
            reason = tried.trial.reason[:_MAX_HINT_CHARACTERS]
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
            max_tokens = min(MAX_OUTPUT_TOKENS, len(completion.text.encode()) + FIX_MARGIN_TOKENS)

    def _try(self, assignment: Assignment, patch: str) -> Trial:
        sandbox = self.standing.use()
        with workspace(assignment, chosen(assignment)) as root:
            try:
                apply = limited(patch_files, "the patch", checkpoint=assignment.checkpoint)
                files = tuple(Applied(**file) for file in apply(patch, root))
                own = dependencies.own_modules(root)
            except (PatchRejected, InvalidStepInput) as refused:
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
        report = read_report(finished.report, own=own, checkpoint=assignment.checkpoint)
        if report is None:
            said = [text.decode("utf-8", "replace") for text in (finished.stdout, finished.stderr)]
            if missing := dependencies.named(said, own=own):
                return Trial(_open(missing), files, TestReport(0, 0, 0, 0, (), missing=missing))
            return Trial(f"pytest ended with exit code {finished.exit_code} and no report", files)
        return Trial(_objection(report, finished.exit_code), files, report)

    def _answer(self, assignment: Assignment, proposal: Proposal) -> StepResult:
        trial = proposal.trial
        sandbox, tests = self.standing.use(), trial.tests
        changed = count_of(len(trial.files), "file")
        output = {
            "summary": f"not accepted: {trial.reason}"
            if trial.reason
            else f"accepted: {changed} changed, {count_of(tests.passed if tests else 0, 'test')} passed",
            "accepted": not trial.reason,
            "reason": trial.reason,
            "patch": proposal.patch,
            "explanation": proposal.explanation,
            "fix_rounds": proposal.fix_rounds,
            "files": [asdict(file) for file in trial.files],
            "tests_passed": tests.passed if tests else 0,
            "tests_failed": tests.failed + tests.errors if tests else 0,
            "failures": [asdict(failure) for failure in tests.failures[:MAX_LISTED]] if tests else [],
            "missing_dependencies": list(tests.missing) if tests else [],
            "report_trusted": False,
            "report_note": FORGEABLE,
            "not_checked": dependencies.not_checked(tests.missing, who=_TESTS_NEED)
            if tests and tests.shows_nothing
            else None,
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
    if report.shows_nothing:
        return _open(report.missing)
    if not report.total:
        return "there are no tests that could show that it works"
    failures = [f"{failure.test}: {failure.message}" for failure in report.failures[:5]]
    return (
        f"{report.failed + report.errors} of {count_of(report.total, 'test')} failed: {'; '.join(failures)}"
    )


def _open(missing: Sequence[str]) -> str:
    return f"it is open whether it works: {dependencies.told(missing, who=_TESTS_NEED)}"


def _telling_what_was_tried(exceeded: BudgetExceeded, tried: Proposal) -> BudgetExceeded:
    """Return the error of a budget that pays for no further correction, with the last patch and its fate."""
    tests = tried.trial.tests
    details = {
        "patch": tried.patch[:_MAX_TOLD_CHARACTERS],
        "reason": tried.trial.reason,
        "fix_rounds": tried.fix_rounds,
        "tests_passed": tests.passed if tests else 0,
        "tests_failed": tests.failed + tests.errors if tests else 0,
    }
    return BudgetExceeded(
        f"{exceeded.message} The patch that was tried is not accepted: {tried.trial.reason}",
        details={**exceeded.details, "tried": details},
    )


def _request(assignment: Assignment, *, share: int = 1, hints: Sequence[str] = ()) -> list[Part]:
    """Return the task with the code that is shown: `hints` name files to prefer, `share` divides the room."""
    inputs = assignment.inputs
    failures = (
        json.dumps(inputs["failures"], ensure_ascii=False)[:_MAX_HINT_CHARACTERS]
        if "failures" in inputs
        else ""
    )
    told = [inputs["instruction"], failures, assignment.feedback or ""]
    with workspace(assignment, chosen(assignment)) as root:
        shown = shown_source(
            root,
            paths=inputs.get("paths", ()),
            hints=hints or told,
            room=inputs.get("room", DEFAULT_BYTES) // share,
        )
    return [
        *shown.parts(),
        _KINDS[assignment.action],
        Untrusted("task", inputs["instruction"]),
        *([Untrusted("failures", failures)] if failures else []),
        *([Untrusted("feedback", assignment.feedback)] if assignment.feedback else []),
    ]
