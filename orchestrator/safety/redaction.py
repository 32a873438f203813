"""Scans text for personal data, secrets and prompt injection, rates the risk, and redacts data and secrets."""

import re
from collections.abc import Iterable, Sequence
from typing import Literal

from orchestrator.safety.deobfuscation import normalize
from orchestrator.safety.finding import SafetyFinding, remove_overlaps
from orchestrator.safety.injection import find_injections
from orchestrator.safety.personal_data import find_personal_data
from orchestrator.safety.phone import find_phones
from orchestrator.safety.secret import find_secrets

Risk = Literal["none", "low", "medium", "high", "critical"]

LEVELS: tuple[Risk, ...] = ("none", "low", "medium", "high", "critical")
_RISKS: dict[str, Risk] = {
    "pii.ip": "low",
    "pii.email": "medium",
    "pii.phone": "medium",
    "pii.iban": "high",
    "pii.ssn": "high",
    "pii.card": "high",
}
_CERTAIN_INJECTION = 0.75
_ROUNDS = 6
_MARK = re.compile(r"\[redacted(?::[a-z0-9_.]{1,40})?\]")
_ALL_REDACTED = "[redacted]"


def scan(text: str) -> list[SafetyFinding]:
    """Return findings of personal data, secrets and prompt injection, ordered by start.

    Spans index `text` as given, also where obfuscation was undone to find them. Findings of personal data and secrets
    never overlap each other, nor do injections; an injection may enclose other findings. Linear time.
    """
    injections = find_injections(text) if text else ()
    return sorted(
        [*_find_private(text), *injections], key=lambda finding: (finding.start, finding.end, finding.kind)
    )


def redact(text: str, *, only: str = "") -> str:
    """Replace personal data and secrets by `[redacted:kind]`; injections are kept.

    `only` is a prefix of the kinds to redact: `secret.` keeps personal data. A scan of the result finds none of them,
    so calling it again changes nothing. A text that still has findings after six rounds, which only an attack
    produces, becomes `[redacted]` as a whole.
    """
    for _ in range(_ROUNDS):
        findings = _of_kind(only, _find_private(text))
        if not findings:
            return text
        text = replace_findings(text, findings)
    return text if not _of_kind(only, _find_private(text)) else _ALL_REDACTED


def maskable(text: str) -> list[SafetyFinding]:
    """Return what a log must not contain: secrets, and personal data except phone numbers. Half the cost of `scan`."""
    return _find_private(text, phones=False)


def risk(findings: Iterable[SafetyFinding]) -> Risk:
    """Return the highest risk among findings: the guardian blocks high and critical, and redacts medium."""
    return LEVELS[max((LEVELS.index(_risk_of(finding)) for finding in findings), default=0)]


def _risk_of(finding: SafetyFinding) -> Risk:
    if finding.kind.startswith("secret."):
        return "critical"
    if finding.is_injection:
        return "high" if finding.score >= _CERTAIN_INJECTION else "medium"
    return _RISKS[finding.kind]


def _of_kind(start: str, findings: Iterable[SafetyFinding]) -> list[SafetyFinding]:
    return [finding for finding in findings if finding.kind.startswith(start)]


def _find_private(text: str, *, phones: bool = True) -> list[SafetyFinding]:
    mapped = normalize(text)
    searched = _MARK.sub(lambda mark: "\x00" * len(mark[0]), mapped.text)
    found = [
        *find_personal_data(searched),
        *find_secrets(searched),
        *(find_phones(searched) if phones else ()),
    ]
    if mapped.text is text:
        return remove_overlaps(found)
    return [
        SafetyFinding(finding.kind, *mapped.span(finding.start, finding.end), finding.score, finding.evidence)
        for finding in remove_overlaps(found)
    ]


def replace_findings(text: str, findings: Sequence[SafetyFinding]) -> str:
    """Replace ordered findings that do not overlap by `[redacted:kind]`, in one pass."""
    pieces = []
    at = 0
    for finding in findings:
        pieces += [text[at : finding.start], f"[redacted:{finding.kind}]"]
        at = finding.end
    return "".join([*pieces, text[at:]])
