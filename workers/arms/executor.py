"""The executor: runs ruff, bandit, pytest, coverage and Python scripts in a sandbox, and a timer; never a shell."""

import hashlib
import json
import platform
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from orchestrator.models.arm_capability import FORGEABLE
from orchestrator.models.errors import InvalidStepInput, ToolFailed
from orchestrator.models.step_result import StepResult
from orchestrator.models.task_contract import Attachment
from orchestrator.models.wording import count_of
from orchestrator.safety.archive import is_archive
from workers.arms import tools
from workers.arms.base import ActionArm, Arm, Assignment, ToolUse, answer
from workers.arms.reports import (
    CoverageReport,
    TestReport,
    ends_by_missing_module,
    missing_modules,
    missing_sentence,
    not_checked,
    own_modules,
    read_coverage,
    read_test_report,
)
from workers.arms.sources import folders, plain_name, selected_attachments, single_attachment, workspace
from workers.arms.tools import Command, ToolPaths, run_tool
from workers.sandbox.run import ToolResult
from workers.sandbox.selection import Sandbox, SandboxStatus

MAX_LISTED = 200
TAIL_CHARACTERS = 2_000
MAX_OUTPUT_CHARACTERS = 50_000
_TESTS_NEED = "the tests need"
_USAGE_ERROR = 4
_REPORTED = frozenset({0, 1, 2, 5})
"""pytest's exit codes that come with a report: all passed, some failed, interrupted or not collected, no tests."""


def make(sandbox: SandboxStatus) -> Arm:
    """Return the executor; its tools run in the given sandbox."""
    executor = Executor(sandbox)
    return ActionArm(
        {
            "lint": executor.lint,
            "security": executor.security,
            "tests": executor.tests,
            "coverage": executor.coverage,
            "script": executor.script,
            "wait": wait,
        }
    )


@dataclass(frozen=True)
class Executor:
    """Runs allow-listed tools on attachments, whose code is untrusted."""

    sandbox: SandboxStatus

    def lint(self, assignment: Assignment) -> StepResult:
        """Run ruff with fixed rules; findings never fail the step."""
        inputs = assignment.inputs
        rules = inputs.get("select", tools.RULES)

        def command(places: ToolPaths) -> Command:
            return tools.ruff_check(
                places,
                paths=inputs.get("paths", ["."]),
                select=rules,
                line_length=inputs.get("line_length", tools.LINE_LENGTH),
            )

        ran = self._run(assignment, command)
        findings = [_ruff_finding(item, ran.places) for item in _ruff_findings(ran.finished)]
        by_code = dict(sorted(Counter(finding["code"] for finding in findings).items()))
        found = ", ".join(f"{count} x {code}" for code, count in by_code.items())
        output = {
            "summary": f"ruff finds {count_of(len(findings), 'problem')}{f': {found}' if found else ''}",
            "finding_count": len(findings),
            "findings": findings[:MAX_LISTED],
            "by_code": by_code,
            "rules": list(rules),
        }
        return ran.answer(assignment, output, tool="ruff")

    def tests(self, assignment: Assignment) -> StepResult:
        """Run pytest; a failing test does not fail the step."""
        inputs = assignment.inputs
        max_failures = inputs.get("max_failures", tools.MAX_FAILURES)
        ran = self._run(
            assignment,
            lambda places: tools.pytest_run(
                places, paths=inputs.get("paths", ["."]), max_failures=max_failures
            ),
        )
        report = _test_report(ran, assignment.checkpoint)
        output = {
            "summary": _summary(report),
            "exit_code": ran.finished.exit_code,
            "total": report.total,
            "passed": report.passed,
            "failed": report.failed,
            "errors": report.errors,
            "skipped": report.skipped,
            "seconds": ran.finished.seconds,
            "failures": [asdict(failure) for failure in report.failures[:MAX_LISTED]],
            "stopped_early": report.failed + report.errors >= max_failures,
            "output_tail": ran.finished.stdout.decode("utf-8", "replace")[-TAIL_CHARACTERS:],
            "not_run": report.not_run,
            "report_trusted": False,
            "report_note": FORGEABLE,
            **_about_missing(
                report.missing if report.is_inconclusive else (), named=report.missing, subject=_TESTS_NEED
            ),
        }
        return ran.answer(assignment, output, tool="pytest")

    def security(self, assignment: Assignment) -> StepResult:
        """Run bandit; findings never fail the step."""
        ran = self._run(
            assignment,
            lambda places: tools.bandit_scan(places, paths=assignment.inputs.get("paths", ["."])),
        )
        findings = [_bandit_finding(item) for item in _bandit_findings(ran.finished)]
        levels = Counter(finding["severity"] for finding in findings)
        output = {
            "summary": f"bandit finds {count_of(len(findings), 'problem')}, {levels['high']} of them severe",
            "finding_count": len(findings),
            **{f"{level}_count": levels[level] for level in ("high", "medium", "low")},
            "findings": findings[:MAX_LISTED],
        }
        return ran.answer(assignment, output, tool="bandit")

    def coverage(self, assignment: Assignment) -> StepResult:
        """Run the tests and report which functions they never enter; failing tests do not fail the step."""
        ran = self._run(
            assignment,
            lambda places: tools.coverage_run(places, paths=assignment.inputs.get("paths", ["."])),
        )
        found = read_coverage(
            ran.finished.report, root=PurePosixPath(ran.places.inputs), checkpoint=assignment.checkpoint
        )
        missing = ran.missing()
        if missing and ran.finished.exit_code == _USAGE_ERROR:
            found = CoverageReport((), ())
        elif found is None or ran.finished.exit_code not in _REPORTED:
            raise _failed("coverage", ran.finished)
        never = found.never_run
        names = ", ".join(f"{item.name} ({item.file}:{item.line})" for item in never[:5])
        output = {
            "summary": f"{found.percent:g} % of {count_of(found.statements, 'statement')} run; "
            f"{len(never)} of {count_of(len(found.functions), 'function')} never run{': ' * bool(never)}{names}",
            "percent": found.percent,
            "statements": found.statements,
            "functions": len(found.functions),
            "never_run_count": len(never),
            "never_run": [
                {"name": item.name, "file": item.file, "line": item.line} for item in never[:MAX_LISTED]
            ],
            "files": [asdict(file) for file in found.files[:MAX_LISTED]],
            "exit_code": ran.finished.exit_code,
            "report_trusted": False,
            "report_note": FORGEABLE,
            **_about_missing(missing, subject=_TESTS_NEED),
        }
        return ran.answer(assignment, output, tool="coverage")

    def script(self, assignment: Assignment) -> StepResult:
        """Run a script on a file; the output has its exit code and what it printed."""
        script, *given = selected_attachments(assignment)
        if is_archive(script.filename):
            raise InvalidStepInput(f"{script.filename} is an archive, not a script")

        def command(places: ToolPaths) -> Command:
            names = [
                f"{folder}/{plain_name(attachment)}"
                for folder, attachment in zip(folders([script, *given]), [script, *given], strict=True)
            ]
            return tools.python_script(places, script=names[0], argument=names[1] if given else None)

        ran = self._run(assignment, command, attachments=(script, *given))
        finished = ran.finished
        output = {
            "summary": f"{script.filename} ended with exit code {finished.exit_code} after "
            f"{count_of(len(finished.stdout), 'byte')} of output",
            "exit_code": finished.exit_code,
            "stdout": finished.stdout.decode("utf-8", "replace")[:MAX_OUTPUT_CHARACTERS],
            "stdout_bytes": len(finished.stdout),
            "stdout_sha256": hashlib.sha256(finished.stdout).hexdigest(),
            "complete": len(finished.stdout) < ran.sandbox.limits.output_bytes,
            "stderr_tail": finished.stderr.decode("utf-8", "replace")[-TAIL_CHARACTERS:],
            "seconds": finished.seconds,
            **_about_missing(ran.missing() if ran.lacks_module() else (), subject="the script needs"),
        }
        return ran.answer(assignment, output, tool="python")

    def _run(
        self,
        assignment: Assignment,
        command: Callable[[ToolPaths], Command],
        *,
        attachments: tuple[Attachment, ...] = (),
    ) -> "_Ran":
        """Run a tool on the given attachments, or the only one; raises SandboxUnavailable without a sandbox."""
        sandbox = self.sandbox.require()
        attachments = attachments or (single_attachment(assignment),)
        with workspace(assignment, attachments) as root:
            own = own_modules(root)
            finished, places = run_tool(sandbox, root, command, assignment=assignment)
        return _Ran(finished, places, attachments[0], sandbox, own)


@dataclass(frozen=True)
class _Ran:
    finished: ToolResult
    places: ToolPaths
    attachment: Attachment
    sandbox: Sandbox
    own: frozenset[str]

    def missing(self) -> tuple[str, ...]:
        """Return the modules that the tool's output reports as not installed."""
        return missing_modules(self._written(), own=self.own)

    def lacks_module(self) -> bool:
        """Return whether a missing module ended the tool."""
        return self.finished.exit_code != 0 and ends_by_missing_module(self._written()[1], own=self.own)

    def _written(self) -> tuple[str, str]:
        return (
            self.finished.stdout.decode("utf-8", "replace"),
            self.finished.stderr.decode("utf-8", "replace"),
        )

    def answer(self, assignment: Assignment, output: dict[str, Any], *, tool: str) -> StepResult:
        return answer(
            assignment,
            output,
            evidence=[
                {"tool": tool, "exit_code": self.finished.exit_code, "artifact": self.attachment.sha256}
            ],
            tools=ToolUse.inside(
                self.sandbox,
                {tool: platform.python_version() if tool == "python" else tools.tool_version(tool)},
            ),
        )


def wait(assignment: Assignment) -> StepResult:
    """Wait; the output has the measured time. Raises ToolTimeout at the step's limit."""
    started = time.monotonic()
    end = started + assignment.inputs["seconds"]
    while (now := time.monotonic()) < end:
        assignment.checkpoint()
        assignment.cancelled.wait(min(end - now, assignment.deadline - now, 1.0))
    waited = round(time.monotonic() - started, 3)
    return answer(assignment, {"summary": f"Waited {waited:.1f} s", "seconds": waited})


def _ruff_findings(finished: ToolResult) -> list[dict[str, Any]]:
    try:
        found = json.loads(finished.stdout)
    except (ValueError, RecursionError) as fault:
        raise _failed("ruff", finished) from fault
    if finished.exit_code != 0 or not isinstance(found, list):
        raise _failed("ruff", finished)
    return found


def _bandit_findings(finished: ToolResult) -> list[dict[str, Any]]:
    try:
        found: list[dict[str, Any]] = json.loads(finished.stdout)["results"]
    except (ValueError, LookupError, TypeError, RecursionError) as fault:
        raise _failed("bandit", finished) from fault
    return found


def _bandit_finding(item: dict[str, Any]) -> dict[str, Any]:
    return {
        "file": PurePosixPath(item["filename"]).as_posix(),
        "line": item["line_number"],
        "code": item["test_id"],
        "severity": item["issue_severity"].lower(),
        "confidence": item["issue_confidence"].lower(),
        "message": item["issue_text"][:300],
    }


def _ruff_finding(item: dict[str, Any], places: ToolPaths) -> dict[str, Any]:
    path = Path(item["filename"])
    return {
        "file": (path.relative_to(places.inputs) if path.is_absolute() else path).as_posix(),
        "line": item["location"]["row"],
        "column": item["location"]["column"],
        "code": item["code"] or "invalid-syntax",
        "message": item["message"][:300],
    }


def _test_report(ran: _Ran, checkpoint: Callable[[], None]) -> TestReport:
    finished = ran.finished
    if finished.exit_code == _USAGE_ERROR and (missing := ran.missing()):
        # a conftest.py that can't be imported: pytest collected no test
        return TestReport(0, 0, 0, 0, (), missing=missing)
    report = (
        read_test_report(finished.report, own=ran.own, checkpoint=checkpoint)
        if finished.exit_code in _REPORTED
        else None
    )
    if report is None:
        raise _failed("pytest", finished)
    return report


def _about_missing(
    missing: Sequence[str], *, subject: str, named: Sequence[str] | None = None
) -> dict[str, Any]:
    """Return the output's members about missing modules; `missing` are those because of which it proves nothing."""
    return {
        "missing_dependencies": list(missing if named is None else named),
        "not_checked": not_checked(missing, subject=subject) if missing else None,
    }


def _summary(report: TestReport) -> str:
    parts = [f"{report.passed} passed", f"{report.failed} failed", f"{report.errors} with errors"]
    summary = f"{count_of(report.total, 'test')}: {', '.join(parts)}, {report.skipped} skipped"
    if report.missing:
        summary += f", {report.not_run} not run; {missing_sentence(report.missing, subject=_TESTS_NEED)}"
    return f"{summary}; first: {report.failures[0].test}" if report.failures else summary


def _failed(tool: str, finished: ToolResult) -> ToolFailed:
    tail = (finished.stderr or finished.stdout).decode("utf-8", "replace")[-TAIL_CHARACTERS:]
    return ToolFailed(
        f"{tool} ended with exit code {finished.exit_code} and no usable report",
        details={"exit_code": finished.exit_code, "output_tail": tail},
    )
