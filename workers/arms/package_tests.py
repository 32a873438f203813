"""The executor's tools that run a package's tests: pytest and coverage."""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import PurePosixPath

from orchestrator.models.arm_capability import FORGEABLE
from orchestrator.models.step_result import StepResult
from orchestrator.models.wording import count_of
from workers.arms import tools
from workers.arms.base import Assignment
from workers.arms.environments import chosen
from workers.arms.reports import (
    CoverageReport,
    TestReport,
    missing_sentence,
    read_coverage,
    read_test_report,
)
from workers.arms.tool_runs import TAIL_CHARACTERS, ToolRun, about_missing, failed, run_on_attachments
from workers.sandbox.selection import SandboxStatus

MAX_LISTED = 200
_TESTS_NEED = "the tests need"
_USAGE_ERROR = 4
_REPORTED = frozenset({0, 1, 2, 5})
"""pytest's exit codes that come with a report: all passed, some failed, interrupted or not collected, no tests."""


def tests(assignment: Assignment, sandbox: SandboxStatus) -> StepResult:
    """Run pytest; a failing test does not fail the step."""
    inputs = assignment.inputs
    max_failures = inputs.get("max_failures", tools.MAX_FAILURES)
    with chosen(assignment, sandbox) as environment:
        ran = run_on_attachments(
            assignment,
            sandbox,
            lambda places: tools.pytest_run(
                places, paths=inputs.get("paths", ["."]), max_failures=max_failures
            ),
            environment=environment,
            keeps_files=True,
        )
    report = _test_report(ran, assignment.checkpoint)
    files, warnings = ran.left.save_beside(assignment)
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
        "files": files,
        "report_trusted": False,
        "report_note": FORGEABLE,
        **about_missing(
            report.missing if report.is_inconclusive else (), named=report.missing, subject=_TESTS_NEED
        ),
    }
    return ran.answer(assignment, output, tool="pytest", warnings=warnings)


def coverage(assignment: Assignment, sandbox: SandboxStatus) -> StepResult:
    """Run the tests and report which functions they never enter; failing tests do not fail the step."""
    with chosen(assignment, sandbox) as environment:
        ran = run_on_attachments(
            assignment,
            sandbox,
            lambda places: tools.coverage_run(places, paths=assignment.inputs.get("paths", ["."])),
            environment=environment,
            keeps_files=True,
        )
    found = read_coverage(
        ran.finished.report, root=PurePosixPath(ran.places.inputs), checkpoint=assignment.checkpoint
    )
    missing = ran.missing()
    if missing and ran.finished.exit_code == _USAGE_ERROR:
        found = CoverageReport((), ())
    elif found is None or ran.finished.exit_code not in _REPORTED:
        raise failed("coverage", ran.finished)
    never = found.never_run
    left, warnings = ran.left.save_beside(assignment)
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
        "left_files": left,
        "exit_code": ran.finished.exit_code,
        "report_trusted": False,
        "report_note": FORGEABLE,
        **about_missing(missing, subject=_TESTS_NEED),
    }
    return ran.answer(assignment, output, tool="coverage", warnings=warnings)


def _test_report(ran: ToolRun, checkpoint: Callable[[], None]) -> TestReport:
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
        raise failed("pytest", finished)
    return report


def _summary(report: TestReport) -> str:
    parts = [f"{report.passed} passed", f"{report.failed} failed", f"{report.errors} with errors"]
    summary = f"{count_of(report.total, 'test')}: {', '.join(parts)}, {report.skipped} skipped"
    if report.missing:
        summary += f", {report.not_run} not run; {missing_sentence(report.missing, subject=_TESTS_NEED)}"
    return f"{summary}; first: {report.failures[0].test}" if report.failures else summary
