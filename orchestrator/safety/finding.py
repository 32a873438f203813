"""What a scan found, and which of two overlapping findings stays."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

# The more a kind proves about itself (checksum, vendor prefix), the earlier it stands.
_PRECEDENCE = ("pii.iban", "pii.card", "secret.", "pii.email", "pii.ip", "pii.ssn", "pii.phone")
_WEAKEST = len(_PRECEDENCE)


@dataclass(frozen=True, slots=True)
class Finding:
    """A place in a text that holds something unsafe; it never carries the matched value.

    `start` and `end` index the text as it was given (end exclusive); `score` is 0..1; `evidence` names
    the rules that fired.
    """

    kind: str
    start: int
    end: int
    score: float
    evidence: tuple[str, ...] = ()

    @property
    def is_injection(self) -> bool:
        return self.kind == "injection"


def without_overlaps(findings: Iterable[Finding]) -> list[Finding]:
    """Keep the strongest of findings that overlap, ordered by place; the answer depends on no input order."""
    strongest_first = sorted(findings, key=_strength)
    taken = bytearray(max((finding.end for finding in strongest_first), default=0))
    kept: list[Finding] = []
    for finding in strongest_first:
        if taken.find(1, finding.start, finding.end) < 0:
            taken[finding.start : finding.end] = b"\1" * (finding.end - finding.start)
            kept.append(finding)
    return sorted(kept, key=lambda finding: finding.start)


def _strength(finding: Finding) -> tuple[int, float, int, int, str]:
    return _rank(finding.kind), -finding.score, finding.start - finding.end, finding.start, finding.kind


@cache
def _rank(kind: str) -> int:
    return next((rank for rank, start in enumerate(_PRECEDENCE) if kind.startswith(start)), _WEAKEST)
