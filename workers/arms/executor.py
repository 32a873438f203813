"""Executes: ruff and pytest on code that the operator vouches for, and a timer; never a shell."""

import json
import time
from collections import Counter
from collections.abc import Collection
from dataclasses import asdict, dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from orchestrator.errors import SandboxUnavailable, ToolFailed
from orchestrator.execution_state import StepResult
from orchestrator.task_contract import Attachment
from workers import tools
from workers.arms.base import ActionArm, Arm, Assignment, answer, count_of
from workers.arms.junit import MAX_REPORT_BYTES, TestReport, read_report
from workers.arms.sources import the_one, workspace
from workers.tool_run import Finished, Limits, run

MAX_LISTED = 200
TAIL_CHARACTERS = 2_000
ISOLATION = "none"
_RAN = frozenset({0, 1, 2, 5})
"""pytest's exit codes with a report: all passed, some failed, interrupted or not collected, none found."""


def make(trusted_sha256: Collection[str]) -> Arm:
    """Return the executor; tools run only on attachments among `trusted_sha256`, until there is a sandbox."""
    executor = Executor(frozenset(trusted_sha256))
    return ActionArm({"lint": executor.lint, "tests": executor.tests, "wait": wait})


@dataclass(frozen=True)
class Executor:
    """Runs allow-listed tools on attachments whose code the operator vouches for."""

    trusted_sha256: frozenset[str]
    limits: Limits = field(default_factory=Limits)

    def lint(self, assignment: Assignment) -> StepResult:
        """Run ruff with fixed rules; its findings are the output, whatever their number."""
        attachment = self._vouched(assignment)
        inputs = assignment.inputs
        rules = inputs.get("select", tools.RULES)
        with (
            workspace(assignment, [attachment]) as root,
            TemporaryDirectory(prefix="octollm-tool-") as scratch,
        ):
            command = tools.ruff_check(
                root,
                Path(scratch),
                paths=inputs.get("paths", ["."]),
                select=rules,
                line_length=inputs.get("line_length", tools.LINE_LENGTH),
            )
            finished = self._run(command, assignment, directory=root)
            findings = [_finding(item, root) for item in _ruff_answer(finished)]
        by_code = dict(sorted(Counter(finding["code"] for finding in findings).items()))
        found = ", ".join(f"{count} x {code}" for code, count in by_code.items())
        output = {
            "summary": f"ruff finds {count_of(len(findings), 'problem')}{f': {found}' if found else ''}",
            "finding_count": len(findings),
            "findings": findings[:MAX_LISTED],
            "by_code": by_code,
            "rules": list(rules),
        }
        return self._answer(assignment, output, tool="ruff", finished=finished, attachment=attachment)

    def tests(self, assignment: Assignment) -> StepResult:
        """Run pytest; a failing test is an output, not a failed step."""
        attachment = self._vouched(assignment)
        inputs = assignment.inputs
        most = inputs.get("max_failures", tools.MAX_FAILURES)
        with (
            workspace(assignment, [attachment]) as root,
            TemporaryDirectory(prefix="octollm-tool-") as scratch,
        ):
            place = Path(scratch) / "report.xml"
            paths = inputs.get("paths", ["."])
            command = tools.pytest_run(root, Path(scratch), paths=paths, max_failures=most, report=place)
            finished = self._run(command, assignment, directory=root)
            report = _report(place, finished)
        output = {
            "summary": _told(report),
            "exit_code": finished.exit_code,
            "total": report.total,
            "passed": report.passed,
            "failed": report.failed,
            "errors": report.errors,
            "skipped": report.skipped,
            "seconds": finished.seconds,
            "failures": [asdict(failure) for failure in report.failures[:MAX_LISTED]],
            "stopped_early": report.failed + report.errors >= most,
            "output_tail": finished.stdout.decode("utf-8", "replace")[-TAIL_CHARACTERS:],
        }
        return self._answer(assignment, output, tool="pytest", finished=finished, attachment=attachment)

    def _vouched(self, assignment: Assignment) -> Attachment:
        attachment = the_one(assignment)
        if attachment.sha256 not in self.trusted_sha256:
            raise SandboxUnavailable(
                f"{attachment.filename} is not run: there is no sandbox yet and nobody vouched for it. "
                f"An operator who has read it can add {attachment.sha256} to EXECUTOR_TRUSTED_SHA256.",
                details={"sha256": attachment.sha256, "setting": "EXECUTOR_TRUSTED_SHA256"},
            )
        return attachment

    def _run(self, command: tools.Command, assignment: Assignment, *, directory: Path) -> Finished:
        return run(
            command.argv, assignment, directory=directory, environment=command.environment, limits=self.limits
        )

    def _answer(
        self,
        assignment: Assignment,
        output: dict[str, Any],
        *,
        tool: str,
        finished: Finished,
        attachment: Attachment,
    ) -> StepResult:
        return answer(
            assignment,
            output,
            evidence=[{"tool": tool, "exit_code": finished.exit_code, "artifact": attachment.sha256}],
            tools={tool: tools.tool_version(tool)},
            isolation=ISOLATION,
            limits=asdict(self.limits),
        )


def wait(assignment: Assignment) -> StepResult:
    """Wait; the time is measured. Raises ToolTimeout when the step's limit comes first."""
    started = time.monotonic()
    end = started + assignment.inputs["seconds"]
    while (now := time.monotonic()) < end:
        assignment.checkpoint()
        assignment.cancelled.wait(min(end - now, assignment.deadline - now, 1.0))
    waited = round(time.monotonic() - started, 3)
    return answer(assignment, {"summary": f"Waited {waited:.1f} s", "seconds": waited})


def _ruff_answer(finished: Finished) -> list[dict[str, Any]]:
    try:
        answered = json.loads(finished.stdout)
    except ValueError as fault:
        raise _failed("ruff", finished) from fault
    if finished.exit_code != 0 or not isinstance(answered, list):
        raise _failed("ruff", finished)
    return answered


def _finding(item: dict[str, Any], root: Path) -> dict[str, Any]:
    path = Path(item["filename"])
    inner = path.resolve().relative_to(root.resolve()) if path.is_absolute() else path
    return {
        "file": inner.as_posix(),
        "line": item["location"]["row"],
        "column": item["location"]["column"],
        "code": item["code"] or "invalid-syntax",
        "message": item["message"][:300],
    }


def _report(place: Path, finished: Finished) -> TestReport:
    if finished.exit_code not in _RAN or not place.is_file() or place.stat().st_size > MAX_REPORT_BYTES:
        raise _failed("pytest", finished)
    report = read_report(place.read_bytes())
    if report is None:
        raise _failed("pytest", finished)
    return report


def _told(report: TestReport) -> str:
    parts = [f"{report.passed} passed", f"{report.failed} failed", f"{report.errors} with errors"]
    told = f"{count_of(report.total, 'test')}: {', '.join(parts)}, {report.skipped} skipped"
    return f"{told}; first: {report.failures[0].test}" if report.failures else told


def _failed(tool: str, finished: Finished) -> ToolFailed:
    said = (finished.stderr or finished.stdout).decode("utf-8", "replace")[-TAIL_CHARACTERS:]
    return ToolFailed(
        f"{tool} ended with exit code {finished.exit_code} and no usable report",
        details={"exit_code": finished.exit_code, "output_tail": said},
    )
