"""Guards: finds secrets, personal data and injections in what a task reads, and redacts text."""

from collections import Counter
from typing import Any

from orchestrator.execution_state import StepResult
from orchestrator.safety import redact as redacted
from orchestrator.safety import scan as scanned
from workers.arms.base import ActionArm, Arm, Assignment, answer, count_of
from workers.arms.sources import Source, read_sources
from workers.sandbox.choice import Standing

GIVEN_NAME = "(text)"
MAX_LISTED = 500


def make(_standing: Standing) -> Arm:
    """Return the guardian."""
    return ActionArm({"scan": scan, "redact": redact})


def scan(assignment: Assignment) -> StepResult:
    """Scan the given text alone, or else attachments and context; never repeats what it finds."""
    sources: list[Source] = []
    skipped: list[dict[str, str]] = []
    if "text" not in assignment.inputs or "attachments" in assignment.inputs:
        sources, skipped = read_sources(assignment)
    if "text" in assignment.inputs:
        sources.append(Source(GIVEN_NAME, assignment.inputs["text"]))
    findings: list[dict[str, Any]] = []
    for source in sources:
        assignment.checkpoint()
        findings.extend(_findings(source))
    kinds = Counter(finding["kind"] for finding in findings)
    output = {
        "summary": _told(len(sources), kinds, skipped=len(skipped)),
        "finding_count": len(findings),
        "secret_count": _sum(kinds, "secret."),
        "personal_count": _sum(kinds, "pii."),
        "injection_count": _sum(kinds, "injection"),
        "by_kind": dict(sorted(kinds.items())),
        "findings": findings[:MAX_LISTED],
        "texts_scanned": len(sources),
        "bytes_scanned": sum(len(source.text.encode("utf-8", "replace")) for source in sources),
        "skipped": skipped[:MAX_LISTED],
    }
    evidence = [{"file": finding["file"], "line": finding["line"]} for finding in findings[:50]]
    return answer(assignment, output, evidence=evidence)


def redact(assignment: Assignment) -> StepResult:
    """Return the text with secrets and personal data replaced."""
    text = assignment.inputs["text"]
    kinds = Counter(finding.kind for finding in scanned(text) if finding.kind != "injection")
    output = {
        "summary": f"{count_of(kinds.total(), 'place')} redacted",
        "text": redacted(text),
        "replaced": kinds.total(),
        "by_kind": dict(sorted(kinds.items())),
    }
    return answer(assignment, output)


def _findings(source: Source) -> list[dict[str, Any]]:
    found, line, at = [], 1, 0
    for finding in sorted(scanned(source.text), key=lambda finding: finding.start):
        line += source.text.count("\n", at, finding.start)
        at = finding.start
        found.append(
            {
                "kind": finding.kind,
                "file": source.name,
                "line": line,
                "column": at - (source.text.rfind("\n", 0, at) + 1) + 1,
                "score": round(finding.score, 4),
            }
        )
    return found


def _sum(kinds: Counter[str], prefix: str) -> int:
    return sum(count for kind, count in kinds.items() if kind.startswith(prefix))


def _told(texts: int, kinds: Counter[str], *, skipped: int) -> str:
    found = ", ".join(f"{count} x {kind}" for kind, count in sorted(kinds.items())) or "nothing"
    unread = f"; {count_of(skipped, 'file')} not text" if skipped else ""
    return f"{count_of(texts, 'text')} scanned, found {found}{unread}"
