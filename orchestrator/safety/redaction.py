"""Scan a text for everything unsafe, weigh what was found, and take personal data and secrets out of it."""

import re
from collections.abc import Iterable, Sequence
from typing import Literal

from orchestrator.safety.disguise import plain
from orchestrator.safety.finding import Finding, without_overlaps
from orchestrator.safety.injection import find_injections
from orchestrator.safety.personal import find_personal
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
_EVERYTHING = "[redacted]"


def scan(text: str) -> list[Finding]:
    """Find personal data, secrets and prompt injection, ordered by place.

    Places are indices of `text` as given, whatever disguise was taken off to see them. Findings of personal
    data and secrets never overlap each other, nor do injections; an injection may enclose the others.
    Linear time.
    """
    injections = find_injections(text) if text else ()
    return sorted(
        [*_private(text), *injections], key=lambda finding: (finding.start, finding.end, finding.kind)
    )


def redact(text: str, *, only: str = "") -> str:
    """Replace each piece of personal data and each secret by `[redacted:kind]`; injections stay.

    `only` is the start of the kinds that are taken out: `secret.` leaves personal data. Afterwards a scan finds
    none of them, so calling it again changes nothing. A text that keeps showing more each time something is taken
    out, as only one made for that does, becomes `[redacted]` as a whole.
    """
    for _ in range(_ROUNDS):
        findings = _of_kind(only, _private(text))
        if not findings:
            return text
        text = without(text, findings)
    return text if not _of_kind(only, _private(text)) else _EVERYTHING


def maskable(text: str) -> list[Finding]:
    """Find what a log must not show: personal data but phone numbers, and secrets; a half of the cost of `scan`."""
    return _private(text, phones=False)


def risk(findings: Iterable[Finding]) -> Risk:
    """Return the highest risk among findings; high and critical block, medium redacts (OctoLLM's guardian)."""
    return LEVELS[max((LEVELS.index(_risk_of(finding)) for finding in findings), default=0)]


def _risk_of(finding: Finding) -> Risk:
    if finding.kind.startswith("secret."):
        return "critical"
    if finding.is_injection:
        return "high" if finding.score >= _CERTAIN_INJECTION else "medium"
    return _RISKS[finding.kind]


def _of_kind(start: str, findings: Iterable[Finding]) -> list[Finding]:
    return [finding for finding in findings if finding.kind.startswith(start)]


def _private(text: str, *, phones: bool = True) -> list[Finding]:
    copy = plain(text)
    searched = _MARK.sub(lambda mark: "\x00" * len(mark[0]), copy.text)
    found = [*find_personal(searched), *find_secrets(searched), *(find_phones(searched) if phones else ())]
    if copy.text is text:
        return without_overlaps(found)
    return [
        Finding(finding.kind, *copy.span(finding.start, finding.end), finding.score, finding.evidence)
        for finding in without_overlaps(found)
    ]


def without(text: str, findings: Sequence[Finding]) -> str:
    """Replace each finding, in order and apart from each other, by `[redacted:kind]`, in one pass."""
    pieces = []
    at = 0
    for finding in findings:
        pieces += [text[at : finding.start], f"[redacted:{finding.kind}]"]
        at = finding.end
    return "".join([*pieces, text[at:]])
