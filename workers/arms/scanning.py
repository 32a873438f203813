"""Scans texts that nobody trusts: short ones here, long ones in a limited child, so that nobody waits for them."""

from collections.abc import Callable, Sequence
from typing import Any

from orchestrator import safety
from orchestrator.safety import SafetyFinding
from workers.sandbox.limited import MEBIBYTE, Limits, limited

MAX_CHARACTERS_HERE = 8 * 1024
"""Scanning takes at most 5 ms of processor time a kB (docs/security.md), in proportion: this is 40 ms."""
_LIMITS = Limits(memory_bytes=512 * MEBIBYTE, cpu_seconds=60, wall_seconds=300, answer_bytes=64 * MEBIBYTE)


def scan(text: str, about: str, *, checkpoint: Callable[[], None]) -> list[SafetyFinding]:
    """Return what is unsafe in a text; `about` and `checkpoint` are as in `limited`, and what is raised."""
    if len(text) <= MAX_CHARACTERS_HERE:
        return safety.scan(text)
    found = limited(scan_long, about, checkpoint=checkpoint, limits=_LIMITS)(text)
    return [
        SafetyFinding(kind, start, end, score, tuple(evidence)) for kind, start, end, score, evidence in found
    ]


def redact(text: str, about: str, *, checkpoint: Callable[[], None]) -> str:
    """Return the text with secrets and personal data replaced; the rest is as for `scan`."""
    if len(text) <= MAX_CHARACTERS_HERE:
        return safety.redact(text)
    return limited(redact_long, about, checkpoint=checkpoint, limits=_LIMITS)(text)


def scan_long(text: str) -> Sequence[Sequence[Any]]:
    """Return the members of each finding; to be called through workers.sandbox.limited."""
    return [(found.kind, found.start, found.end, found.score, found.evidence) for found in safety.scan(text)]


def redact_long(text: str) -> str:
    """Return the text redacted; to be called through workers.sandbox.limited."""
    return safety.redact(text)
