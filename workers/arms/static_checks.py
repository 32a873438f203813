"""The executor's tools that only read code: ruff and bandit."""

import json
from collections import Counter
from pathlib import Path, PurePosixPath
from typing import Any

from orchestrator.models.step_result import StepResult
from orchestrator.models.wording import count_of
from workers.arms import tools
from workers.arms.base import Assignment
from workers.arms.tool_runs import failed, run_on_attachments
from workers.arms.tools import Command, ToolPaths
from workers.sandbox.run import ToolResult
from workers.sandbox.selection import SandboxStatus

MAX_LISTED = 200


def lint(assignment: Assignment, sandbox: SandboxStatus) -> StepResult:
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

    ran = run_on_attachments(assignment, sandbox, command)
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


def security(assignment: Assignment, sandbox: SandboxStatus) -> StepResult:
    """Run bandit; findings never fail the step."""
    ran = run_on_attachments(
        assignment,
        sandbox,
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


def _ruff_findings(finished: ToolResult) -> list[dict[str, Any]]:
    try:
        found = json.loads(finished.stdout)
    except (ValueError, RecursionError) as fault:
        raise failed("ruff", finished) from fault
    if finished.exit_code != 0 or not isinstance(found, list):
        raise failed("ruff", finished)
    return found


def _bandit_findings(finished: ToolResult) -> list[dict[str, Any]]:
    try:
        found: list[dict[str, Any]] = json.loads(finished.stdout)["results"]
    except (ValueError, LookupError, TypeError, RecursionError) as fault:
        raise failed("bandit", finished) from fault
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
