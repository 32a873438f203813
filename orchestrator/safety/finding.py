"""What a scan found, and which of two overlapping findings stays."""

from bisect import bisect_left
from collections.abc import Iterable, Sequence
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
    kept: list[Finding] = []
    starts: list[int] = []
    for finding in sorted(findings, key=_strength):
        place = bisect_left(starts, finding.start)
        if _is_free(kept, place, finding):
            kept.insert(place, finding)
            starts.insert(place, finding.start)
    return kept


def _strength(finding: Finding) -> tuple[int, float, int, int, str]:
    return _rank(finding.kind), -finding.score, finding.start - finding.end, finding.start, finding.kind


@cache
def _rank(kind: str) -> int:
    return next((rank for rank, start in enumerate(_PRECEDENCE) if kind.startswith(start)), _WEAKEST)


def _is_free(kept: Sequence[Finding], place: int, finding: Finding) -> bool:
    before_is_clear = place == 0 or kept[place - 1].end <= finding.start
    after_is_clear = place == len(kept) or finding.end <= kept[place].start
    return before_is_clear and after_is_clear
