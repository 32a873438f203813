"""Owns the finding of a scan, and the rule that decides between overlapping findings."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

# from the strongest proof (checksum, vendor prefix) to the weakest
_PRECEDENCE = ("pii.iban", "pii.card", "secret.", "pii.email", "pii.ip", "pii.ssn", "pii.phone")
_WEAKEST = len(_PRECEDENCE)


@dataclass(frozen=True, slots=True)
class SafetyFinding:
    """A span of a text that is unsafe. It never contains the matched value.

    `start` and `end` (exclusive) index the scanned text; `score` is 0..1; `evidence` names the rules that matched.
    """

    kind: str
    start: int
    end: int
    score: float
    evidence: tuple[str, ...] = ()

    @property
    def is_injection(self) -> bool:
        return self.kind == "injection"


def remove_overlaps(findings: Iterable[SafetyFinding]) -> list[SafetyFinding]:
    """Keep the strongest of overlapping findings, ordered by start; the result does not depend on the input order."""
    strongest_first = sorted(findings, key=_strength)
    taken = bytearray(max((finding.end for finding in strongest_first), default=0))
    kept: list[SafetyFinding] = []
    for finding in strongest_first:
        if taken.find(1, finding.start, finding.end) < 0:
            taken[finding.start : finding.end] = b"\1" * (finding.end - finding.start)
            kept.append(finding)
    return sorted(kept, key=lambda finding: finding.start)


def _strength(finding: SafetyFinding) -> tuple[int, float, int, int, str]:
    return _rank(finding.kind), -finding.score, finding.start - finding.end, finding.start, finding.kind


@cache
def _rank(kind: str) -> int:
    return next((rank for rank, start in enumerate(_PRECEDENCE) if kind.startswith(start)), _WEAKEST)
