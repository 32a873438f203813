"""The safety guardian: finds secrets, personal data and injections, redacts them, and decides by a policy."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from orchestrator.models.step_result import StepResult
from orchestrator.models.wording import count_of
from orchestrator.safety import SafetyFinding
from orchestrator.safety.redaction import LEVELS, Risk, risk
from workers.arms.base import ActionArm, Arm, Assignment, answer
from workers.arms.sources import SourceText, read_sources
from workers.arms.text_files import redact_text, scan_text
from workers.sandbox.selection import SandboxStatus

GIVEN_NAME = "(text)"
MAX_LISTED = 500
MAX_IN_SUMMARY = 3
# OctoLLM's guardian blocks high and critical, and redacts medium
DEFAULT_POLICY: Mapping[str, Any] = {"redact_at": "medium", "block_at": "high", "ignore": []}


def make(_sandbox: SandboxStatus) -> Arm:
    """Return the guardian."""
    return ActionArm({"scan": scan, "redact": redact, "decide": decide})


def scan(assignment: Assignment) -> StepResult:
    """Scan the given text, or else attachments and context; the output never repeats what was found."""
    sources, skipped = _sources(assignment)
    findings = [place for source, found in _scanned(assignment, sources) for place in _places(source, found)]
    kinds = Counter(finding["kind"] for finding in findings)
    output = {
        "summary": _summary(len(sources), findings, skipped=len(skipped)),
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
    found = scan_text(text, GIVEN_NAME, checkpoint=assignment.checkpoint)
    kinds = Counter(finding.kind for finding in found if finding.kind != "injection")
    output = {
        "summary": f"{count_of(kinds.total(), 'place')} redacted",
        "text": redact_text(text, GIVEN_NAME, checkpoint=assignment.checkpoint),
        "replaced": kinds.total(),
        "by_kind": dict(sorted(kinds.items())),
    }
    return answer(assignment, output)


def decide(assignment: Assignment) -> StepResult:
    """Decide by a policy on the given text, or else on attachments and context: allow, redact or block.

    Redaction can't remove an injection, so an injection at the level of redaction blocks.
    """
    sources, skipped = _sources(assignment)
    policy = {**DEFAULT_POLICY, **assignment.inputs.get("policy", {})}
    ignored = tuple(policy["ignore"])
    found = [
        (source, [finding for finding in findings if not finding.kind.startswith(ignored)])
        for source, findings in _scanned(assignment, sources)
    ]
    findings = [finding for _, counted in found for finding in counted]
    level = risk(findings)
    decision = _decision(level, risk(finding for finding in findings if finding.is_injection), policy)
    kinds = Counter(finding.kind for finding in findings)
    places = [place for source, counted in found for place in _places(source, counted)]
    output = {
        "summary": f"{decision}: risk {level}; {_summary(len(sources), places, skipped=len(skipped))}",
        "risk": level,
        "decision": decision,
        "text": _released_text(assignment, decision),
        "finding_count": len(findings),
        "by_kind": dict(sorted(kinds.items())),
        "findings": places[:MAX_LISTED],
        "policy": policy,
    }
    return answer(assignment, output, evidence=[{"risk": level, "texts": len(sources)}])


def _decision(level: Risk, injected: Risk, policy: Mapping[str, Any]) -> str:
    redact_at, block_at = LEVELS.index(policy["redact_at"]), LEVELS.index(policy["block_at"])
    if LEVELS.index(level) >= block_at or LEVELS.index(injected) >= min(redact_at, block_at):
        return "block"
    return "redact" if LEVELS.index(level) >= redact_at else "allow"


def _released_text(assignment: Assignment, decision: str) -> str | None:
    text: str | None = assignment.inputs.get("text")
    if text is None or decision == "block":
        return None
    if decision == "redact":
        return redact_text(text, GIVEN_NAME, checkpoint=assignment.checkpoint)
    return text


def _sources(assignment: Assignment) -> tuple[list[SourceText], list[dict[str, str]]]:
    sources: list[SourceText] = []
    skipped: list[dict[str, str]] = []
    if "text" not in assignment.inputs or "attachments" in assignment.inputs:
        sources, skipped = read_sources(assignment)
    if "text" in assignment.inputs:
        sources.append(SourceText(GIVEN_NAME, assignment.inputs["text"]))
    return sources, skipped


def _scanned(
    assignment: Assignment, sources: Iterable[SourceText]
) -> Iterator[tuple[SourceText, list[SafetyFinding]]]:
    for source in sources:
        assignment.checkpoint()
        yield source, scan_text(source.text, source.name, checkpoint=assignment.checkpoint)


def _places(source: SourceText, findings: Sequence[SafetyFinding]) -> Iterator[dict[str, Any]]:
    line, at = 1, 0
    for finding in sorted(findings, key=lambda finding: finding.start):
        line += source.text.count("\n", at, finding.start)
        at = finding.start
        yield {
            "kind": finding.kind,
            "file": source.name,
            "line": line,
            "column": at - (source.text.rfind("\n", 0, at) + 1) + 1,
            "score": round(finding.score, 4),
        }


def _sum(kinds: Counter[str], prefix: str) -> int:
    return sum(count for kind, count in kinds.items() if kind.startswith(prefix))


def _summary(texts: int, places: Sequence[Mapping[str, Any]], *, skipped: int) -> str:
    by_kind: dict[str, list[str]] = {}
    for place in places:
        by_kind.setdefault(place["kind"], []).append(f"{place['file']}:{place['line']}")
    found = ", ".join(
        f"{len(at)} x {kind} ({', '.join(at[:MAX_IN_SUMMARY])}{', …' * (len(at) > MAX_IN_SUMMARY)})"
        for kind, at in sorted(by_kind.items())
    )
    unread = f"; {count_of(skipped, 'file')} not text" if skipped else ""
    return f"{count_of(texts, 'text')} scanned, found {found or 'nothing'}{unread}"
